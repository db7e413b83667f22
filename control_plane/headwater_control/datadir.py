"""The data directory: one control plane at a time, its addresses for others to find, and who led before a crash."""

import fcntl
import json
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from headwater_wire import durable

from headwater_control.config import BadSetting

log = logging.getLogger(__name__)
RESTORING = "restoring"  # a file that is there until a restore into the folder is whole
DATABASE_ID = "database.id"  # a file that says which database the blobs belong to


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a running control plane is, with the ports it really has."""

    http: str  # http[s]://host:port
    grpc: str  # host:port
    mqtt: str  # mqtt[s]://host:port
    enrol: str  # host:port; "" without TLS
    pid: int


@dataclass(frozen=True, slots=True)
class DataDir:
    """A claimed data directory."""

    path: Path
    holder: str  # this process, in leases
    previous_holder: str  # the process before it, whose leases are void since it has ended; "": there was none

    @property
    def blobs(self) -> Path:
        """Where objects are."""
        return self.path / "blobs"

    @property
    def work(self) -> Path:
        """Where files are made that become blobs: on the same file system."""
        return self.path / "work"

    @property
    def ca(self) -> Path:
        """Where the certificate authority is."""
        return self.path / "ca"

    @property
    def keys(self) -> Path:
        """Where the keys are that sign orders."""
        return self.path / "keys"

    @contextmanager
    def announced(self, endpoints: Endpoints) -> Iterator[None]:
        """Let others find the addresses in endpoints.json while the context lasts."""
        place = self.path / "endpoints.json"
        durable.write(place, json.dumps(asdict(endpoints), indent=1).encode() + b"\n")
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


@contextmanager
def claimed(path: Path) -> Iterator[DataDir]:
    """Make the directory if it isn't there and keep every other control plane out; raise `BadSetting`."""
    if (path / RESTORING).exists():
        raise BadSetting(f"a restore into {path} was cut short, or still runs: empty the folder and restore again")
    try:
        durable.make_dirs(path, private=True)
        (path / "work").mkdir(0o700, exist_ok=True)
        lock = (path / "lock").open("a+")
    except OSError as error:
        raise BadSetting(f"can't use {path} as data_dir: {error.strerror}; choose another with --data-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            owner = lock.read(20).strip() or "unknown"
            raise BadSetting(
                f"another `headwater serve` (process {owner}) is using {path}: stop it, or give this one a --data-dir "
                "of its own"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        (path / "endpoints.json").unlink(missing_ok=True)  # of a process that was killed
        durable.sweep_temporaries(path)  # likewise
        _warn_if_open(path)
        yield _with_holder(path)


def _warn_if_open(path: Path) -> None:
    """Say so if a directory that was there before us lets others in: what we make in it is private all the same."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        log.warning(
            "%s is open to other users (mode %04o): `chmod 700 %s`, since keys and data are in it", path, mode, path
        )


def _with_holder(path: Path) -> DataDir:
    place = path / "holder"
    previous = place.read_text(encoding="ascii", errors="replace") if place.is_file() else ""
    if not (previous.isascii() and previous.isprintable()):
        log.warning("%s is damaged: runs that were led when it was written wait until their leases end", place)
        previous = ""
    holder = f"control-{secrets.token_hex(8)}"
    durable.write(place, holder.encode())
    return DataDir(path, holder, previous)
