"""The one durable write: what it has returned from survives kill -9 and power loss, whole or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = ".hw-tmp-"
fsync = os.fsync  # all that must last goes through this name: tests/simulation puts a disk of its own behind it


def write(path: Path, data: bytes | bytearray | memoryview, *, private: bool = False) -> None:
    """Put `data` at `path`, replacing what was there: after a crash the old or the new content is there, whole.

    A `private` file is its owner's alone, from its first byte on.
    """
    with _temporary(path.parent) as temporary:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600 if private else 0o666), "wb") as file:
            file.write(data)
            file.flush()
            fsync(file.fileno())
        temporary.replace(path)
    sync_directory(path.parent)


def adopt(source: Path, target: Path) -> None:
    """Move a finished file of the same file system to `target`, replacing what was there.

    A failure before the move leaves the source where it was.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)
    source.replace(target)
    sync_directory(target.parent)


def make_dirs(path: Path, *, private: bool = False) -> None:
    """Make a folder and the parents it lacks, `private` ones for this user alone; nothing, if it is there."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    # A process killed between mkdir and fsync may have made the deepest one that is there.
    with suppress(PermissionError):  # where we may not look, we made nothing
        sync_directory(path.parent)
    for folder in reversed(missing):
        folder.mkdir(0o700 if private else 0o777, exist_ok=True)
        sync_directory(folder.parent)


def replace_symlink(link: Path, target: Path | str) -> None:
    """Point `link` at `target`, at once: a reader meets the old or the new target, never none."""
    with _temporary(link.parent) as temporary:
        temporary.symlink_to(target)
        temporary.replace(link)
    sync_directory(link.parent)


def remove(path: Path, *, durably: bool = False) -> None:
    """Delete a file or symlink, if it is there; `durably`, so that it doesn't come back after a power loss."""
    path.unlink(missing_ok=True)
    if durably:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or deleted directly in a folder last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_temporaries(directory: Path) -> None:
    """Delete what a crash in the middle of a write left directly in a folder, which nobody may be writing to."""
    for path in directory.glob(f"{_TEMPORARY}*"):
        path.unlink()


@contextmanager
def _temporary(directory: Path) -> Iterator[Path]:
    """Give a fresh name in a folder; whatever has it after a failure is deleted."""
    path = directory / f"{_TEMPORARY}{secrets.token_hex(8)}"
    try:
        yield path
    except BaseException:
        with suppress(OSError):  # the first error is the one worth telling
            path.unlink(missing_ok=True)
        raise


def refused(error: OSError) -> bool:
    """Say whether a disk was full, broken or read-only: nothing that a setting could mend."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}
