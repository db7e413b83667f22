"""What a backup holds: every file by its SHA-256, written last, so that a backup without it is none."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath

from headwater_wire import durable

FILE = "manifest.json"
_FORMAT = 1
_CHUNK_BYTES = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

OnBytes = Callable[[int, int], None]  # done, of so many


class BadBackup(Exception):
    """A backup that can't be taken, or can't be used: the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, by its path in the data directory."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands in manifest.json. `lacking` are blobs that the database names and that were missing or damaged."""

    made_at: datetime
    headwater: str  # the version that took it
    database: str  # "sqlite": it is in here; "postgresql": it is dumped apart
    audit_entries: int
    endpoints: dict[str, str]  # where it was reached, if it ran
    files: tuple[Entry, ...]
    lacking: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Tell how many bytes the files have."""
        return sum(entry.size for entry in self.files)


def write(folder: Path, manifest: Manifest) -> None:
    """Complete a backup, durably."""
    tree = {"format": _FORMAT, **asdict(manifest), "made_at": manifest.made_at.isoformat()}
    durable.write(folder / FILE, json.dumps(tree, indent=1).encode() + b"\n", private=True)


def read(folder: Path) -> Manifest:
    """Read a backup's; raise `BadBackup`."""
    try:
        tree = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if tree.pop("format") != _FORMAT:
            raise BadBackup(f"{folder} was written by a newer Headwater: restore it with that")
        files = tuple(Entry(_inside(entry["path"]), entry["size"], entry["sha256"]) for entry in tree.pop("files"))
        made_at, lacking = datetime.fromisoformat(tree.pop("made_at")), tuple(tree.pop("lacking"))
        return Manifest(made_at=made_at, files=files, lacking=lacking, **tree)
    except FileNotFoundError as error:
        raise BadBackup(f"{folder} is no backup, or one that was cut short: it has no {FILE}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadBackup(f"{folder / FILE} can't be read: {error}") from error


def copied(source: Path, folder: Path, path: str) -> Entry:
    """Copy a file to its path in a folder, for this user alone, durably but for its own folder's entry."""
    target = folder / path
    digest, size = sha256(), 0
    durable.make_dirs(target.parent, private=True)
    with source.open("rb") as reader, os.fdopen(os.open(target, _NEW, 0o600), "wb") as writer:
        while data := reader.read(_CHUNK_BYTES):
            digest.update(data)
            size += len(data)
            writer.write(data)
        writer.flush()
        durable.fsync(writer.fileno())
    return Entry(path, size, digest.hexdigest())


def damaged(folder: Path, manifest: Manifest, on_bytes: OnBytes) -> Iterator[str]:
    """Name the files that are not what was written, or not there."""
    done = 0
    for entry in manifest.files:
        digest, size = sha256(), 0
        try:
            with (folder / entry.path).open("rb") as reader:
                while data := reader.read(_CHUNK_BYTES):
                    digest.update(data)
                    size += len(data)
        except OSError:
            size = -1
        if (size, digest.hexdigest()) != (entry.size, entry.sha256):
            yield entry.path
        done += entry.size
        on_bytes(done, manifest.size)


def _inside(path: str) -> str:
    """Refuse a path that leads out of the folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise BadBackup(f"the manifest names {path!r}, which is no place in a data directory: it is not one of ours")
    return path
