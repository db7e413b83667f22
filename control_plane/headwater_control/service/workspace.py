"""Temporary folders on the blobs' file system, so that what is made there can be moved into the blobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

_PREFIX = "work-"


@contextmanager
def workspace(work_dir: Path) -> Iterator[Path]:
    """Open a folder that is gone on leaving."""
    work_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=_PREFIX, dir=work_dir, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def clear(work_dir: Path) -> None:
    """Remove what a crash left behind."""
    for folder in work_dir.glob(f"{_PREFIX}*"):
        rmtree(folder, ignore_errors=True)
