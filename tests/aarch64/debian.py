"""An aarch64 Debian and its emulator in a folder: fetched by apt with a state of its own, unpacked, never installed.

The machine's own apt learns nothing of it: no foreign architecture, no new package, no list. Its sources, proxies and
keys are used as they are.
"""

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.aarch64.cache import CannotPrepare, kept, run

_PACKAGES = ("python3", "libstdc++6")  # apt finds what these need, down to the C library
_OLDEST_QEMU = 10  # onnxruntime 1.31.1 crashes on import under Debian 12's own, 7.2; those between were not tried
_MACHINES = Path("/etc/apt")
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_NETWORK = "are the machine's apt sources Debian's, and can they be reached?"
_DISK = "is the disk full?"

# Read after the machine's configuration, whose hooks are about the machine's own lists.
_CONFIGURATION = """\
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; "amd64"; }};
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "60";
Acquire::https::Timeout "60";
Dir::State "{apt}/state";
Dir::State::lists "{apt}/state/lists";
Dir::State::status "{apt}/status";
Dir::Cache "{apt}/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{apt}/sources";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


@dataclass(frozen=True, slots=True)
class Debian:
    """Where an aarch64 program finds its libraries, and what runs it."""

    root: Path
    emulator: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.root / "usr/bin/python3"

    @property
    def python_version(self) -> str:
        """Tell "3.11"."""
        return self.python.resolve().name.removeprefix("python")

    @property
    def emulator_version(self) -> str:
        """Tell "10.0.2"."""
        told = run([self.emulator, "--version"], "the emulator must start")  # "qemu-aarch64 version 10.0.2 (Debian …)"
        return told.split()[2]

    def command(self, cpu: str, *arguments: str) -> tuple[str, ...]:
        """Spell how its Python is started on an emulated processor."""
        return (str(self.emulator), "-cpu", cpu, "-L", str(self.root), str(self.python), *arguments)


def debian(cache: Path) -> Debian:
    """Give the one in the cache; fetch it if need be."""
    release = _release()
    folder = kept(
        cache / "debian",
        f"{release}: {' '.join(_PACKAGES)}, qemu ≥ {_OLDEST_QEMU}\n",
        "fetching an aarch64 Debian and its emulator",
        lambda empty: _fetch(empty, release),
    )
    return Debian(folder / "root", folder / "qemu-aarch64")


def _release() -> str:
    if platform.machine() != "x86_64":
        raise CannotPrepare(f"this machine is {platform.machine()}; what is compared is x86-64 with aarch64")
    try:
        return platform.freedesktop_os_release()["VERSION_CODENAME"]
    except (OSError, KeyError) as error:
        raise CannotPrepare("this machine is no Debian, whose packages are needed: use one, or a container") from error


def _fetch(folder: Path, release: str) -> None:
    apt = _Apt(folder / "apt")
    apt.get("update")
    qemu = apt.qemu(release)
    apt.get("install", "--yes", "--download-only", *_PACKAGES)
    apt.get("--target-release", qemu, "download", "qemu-user:amd64")
    for package in apt.folder.glob("cache/archives/*.deb"):
        run(["dpkg", "--extract", package, folder / "root"], _DISK)
    if not (folder / "root/lib").exists():  # from Debian 13 on no package has files there, and an installer links it
        (folder / "root/lib").symlink_to("usr/lib")
    for package in apt.folder.glob("qemu-user_*.deb"):
        run(["dpkg", "--extract", package, apt.folder / "qemu"], _DISK)
    (apt.folder / "qemu/usr/bin/qemu-aarch64").rename(folder / "qemu-aarch64")  # it has one for each architecture
    shutil.rmtree(apt.folder)


class _Apt:
    """apt-get with a state of its own, on which nothing is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._configuration = folder / "apt.conf"
        (folder / "state/lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        (folder / "sources").mkdir()
        for source in (*_MACHINES.glob("sources.list"), *_MACHINES.glob("sources.list.d/*")):
            if source.suffix in (".list", ".sources"):
                shutil.copyfile(source, folder / "sources" / source.name)
        (folder / "status").touch()
        self._configuration.write_text(_CONFIGURATION.format(apt=folder))

    def get(self, *arguments: str) -> str:
        """Run apt-get."""
        return run(["apt-get", "-c", self._configuration, "-qq", *arguments], _NETWORK, cwd=self.folder)

    def qemu(self, release: str) -> str:
        """Name the release that has a qemu new enough: this one, or its backports, which then become known."""
        if not (mirror := self._mirror(release)):
            self.get("update", "-o", "APT::Update::Error-Mode=any")  # what failed is the reason, then
            raise CannotPrepare(f"this machine's apt sources have no {release} of Debian's, so no aarch64 packages")
        if (offered := self._offered(release)) >= _OLDEST_QEMU:
            return release
        backports = f"{release}-backports"
        signed = f"[signed-by={_KEYS}] " if _KEYS.is_file() else ""
        (self.folder / "sources/headwater-backports.list").write_text(f"deb {signed}{mirror} {backports} main\n")
        self.get("update")
        if (offered := max(offered, self._offered(backports))) >= _OLDEST_QEMU:
            return backports
        raise CannotPrepare(
            f"apt offers qemu {offered}, in {backports} too; onnxruntime needs {_OLDEST_QEMU} or newer to be emulated"
        )

    def _offered(self, release: str) -> int:
        shown = run(["apt-cache", "-c", self._configuration, "-t", release, "policy", "qemu-user:amd64"], _NETWORK)
        version = next((line.split()[-1] for line in shown.splitlines() if "Candidate:" in line), "(none)")
        return 0 if version == "(none)" else int(version.rpartition(":")[2].split(".")[0])

    def _mirror(self, release: str) -> str:
        fields = "$(ORIGIN) $(LABEL) $(CODENAME) $(REPO_URI)"
        for line in self.get("indextargets", "--format", fields, "Created-By: Packages").splitlines():
            if line.startswith(f"Debian Debian {release} "):
                return line.split()[-1]
        return ""
