"""The wheels that the training worker imports, for aarch64: fetched by pip, unzipped, never installed."""

import sys
import zipfile
from importlib import metadata
from pathlib import Path

from tests.aarch64.cache import CannotPrepare, kept, run

_IMPORTED = ("numpy", "onnxruntime")
_GLIBC = range(17, 37)  # 2.17 is what wheels begin with, 2.36 is Debian 12's


def wheels(cache: Path, python_version: str) -> Path:
    """Give the folder to import them from: the versions that this environment has."""
    wanted = [f"{name}=={_version(name)}" for name in _IMPORTED]
    folder = kept(
        cache / "wheels",
        f"Python {python_version}: {' '.join(wanted)}\n",
        "fetching aarch64 wheels",
        lambda empty: _fetch(empty, python_version, wanted),
    )
    return folder / "site"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError as error:
        raise CannotPrepare(f"this environment has no {name} to compare with: make install") from error


def _fetch(folder: Path, python_version: str, wanted: list[str]) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in _GLIBC]
    which = [*platforms, "--platform=manylinux2014_aarch64", "--python-version", python_version]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
    run(
        [*pip, "--only-binary=:all:", "--no-deps", *which, "--dest", folder, *wanted],
        "can pip reach its package index, and has it these versions for aarch64?",
    )
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "site")
        wheel.unlink()
