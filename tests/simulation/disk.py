"""A disk that loses what was not fsynced when its power goes: real files, of which it knows what is on the platter."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from headwater_wire import durable

Entry = tuple[str, str]  # what kind it is, and which one: a file's inode, a link's target
_DRAWN = re.compile(
    r"(?<=[./-])[0-9a-f]{8,16}(?=(\.part)?$)"
)  # names that a process draws at random: no two histories share them


class Disks:
    """All disks of a world, which hear of every fsync in the process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._numbers = count(1)
        self._mounted: dict[str, Disk] = {}

    def new(self, name: str) -> "Disk":
        """Make an empty one."""
        return self._mount(name, self.root / f"{name}.{next(self._numbers)}")

    def after_power_loss(self, disk: "Disk", draw: str) -> "Disk":
        """Give what the next life finds on the disk; the dead one writes to the former folder as long as it likes."""
        del self._mounted[disk.top.name]
        found = self.root / f"{disk.name}.{next(self._numbers)}"
        disk.survive(found / "files", draw)
        return self._mount(disk.name, found)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear of the fsyncs while the context lasts."""
        real, durable.fsync = durable.fsync, self._fsync  # type: ignore[assignment]  # we pass descriptors only
        try:
            yield
        finally:
            durable.fsync = real

    def _mount(self, name: str, top: Path) -> "Disk":
        disk = self._mounted[top.name] = Disk(name, top)
        return disk

    def _fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(self.root):
            disk = self._mounted.get(path.relative_to(self.root).parts[0])
            if disk is not None:
                disk.fsync(path)


class Disk:
    """One folder. Hard links in `kept` hold on to each file that was fsynced, so that its inode names it for good.

    What it held then is remembered: bytes written into it later are as unsafe as those of a file that was never synced.
    """

    def __init__(self, name: str, top: Path) -> None:
        self.name = name
        self.top = top
        self.files = top / "files"
        self.before_fsync: Callable[[Path], None] = lambda path: None  # may raise, or kill whoever asks
        self.after_fsync: Callable[[Path], None] = lambda path: None
        self._kept = top / "kept"
        self._kept.mkdir(parents=True)
        self.files.mkdir(exist_ok=True)
        self._safe: dict[str, Path] = {}
        self._written: dict[str, bytes] = {}
        self._folders: dict[Path, dict[str, Entry]] = {}
        self._take_stock(self.files)

    def fsync(self, path: Path) -> None:
        """Write a file's bytes, or a folder's names, to the platter."""
        self.before_fsync(path)
        self._sync(path)
        self.after_fsync(path)

    def safe(self, path: Path) -> bool:
        """Say whether a file would be found, whole, after a power loss."""
        name, folder = path.name, path.parent
        entry = _entry(path)
        if entry is None or entry != self._folders.get(folder, {}).get(name):
            return False
        if entry[0] == "file" and not self._whole(entry[1]):
            return False
        return folder == self.files or self.safe(folder)

    def survive(self, target: Path, draw: str) -> None:
        """Lay what a power loss leaves into a new folder; `draw` decides what of the unsynced was written after all."""
        target.mkdir(parents=True)
        self._survive(self.files, target, draw)

    def _sync(self, path: Path) -> None:
        if path.is_dir():
            self._folders[path] = _listing(path)
            return
        status = path.stat()
        if (inode := str(status.st_ino)) not in self._safe:
            place = self._kept / inode
            os.link(path, place)
            self._safe[inode] = place
        self._written[inode] = self._safe[inode].read_bytes()

    def _whole(self, inode: str) -> bool:
        """Say whether a file holds what it held when it was fsynced last."""
        return inode in self._safe and self._safe[inode].read_bytes() == self._written[inode]

    def _take_stock(self, folder: Path) -> None:
        """Begin: all that is there is on the platter."""
        self._sync(folder)
        for name, (kind, _) in self._folders[folder].items():
            if kind == "folder":
                self._take_stock(folder / name)
            elif kind == "file":
                self._sync(folder / name)

    def _survive(self, folder: Path, target: Path, draw: str) -> None:
        now, then = _listing(folder), self._folders.get(folder, {})
        for name in sorted({*now, *then}):
            luck = _luck(draw, str((folder / name).relative_to(self.files)))
            written = now.get(name) == then.get(name) or luck % 2 == 0
            entry = now.get(name) if written else then.get(name)
            if entry is None:
                continue
            kind, which = entry
            place = target / name
            if kind == "link":
                place.symlink_to(which)
            elif kind == "folder":
                place.mkdir()
                self._survive(folder / name, place, draw)
            elif self._whole(which):
                os.link(self._safe[which], place)
            elif which in self._safe:
                data = self._safe[which].read_bytes()
                place.write_bytes(self._written[which] if luck // 8 % 2 else _torn(data, luck // 2 % 4))
            else:
                data = (folder / name).read_bytes() if now.get(name) == entry else b""
                place.write_bytes(_torn(data, luck // 2 % 4))


def full() -> OSError:
    """Make the error of a full disk."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken() -> OSError:
    """Make the error of a disk that fails."""
    return OSError(errno.EIO, os.strerror(errno.EIO))


def _listing(folder: Path) -> dict[str, Entry]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as children:
        return {child.name: _known(child) for child in children}


def _known(child: "os.DirEntry[str]") -> Entry:
    if child.is_symlink():
        return "link", str(Path(child.path).readlink())
    return ("folder", "") if child.is_dir() else ("file", str(child.inode()))


def _entry(path: Path) -> Entry | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if S_ISDIR(status.st_mode):
        return "folder", ""
    if S_ISLNK(status.st_mode):
        return "link", str(path.readlink())
    return ("file", str(status.st_ino)) if S_ISREG(status.st_mode) else None


def _luck(draw: str, path: str) -> int:
    return int.from_bytes(sha256(f"{draw} {_DRAWN.sub('', path)}".encode()).digest()[:4], "big")


def _torn(data: bytes, how: int) -> bytes:
    """Say what is found of a file that was not synced: all, nothing, the first half, or zeros."""
    return (data, b"", data[: len(data) // 2], bytes(len(data)))[how]
