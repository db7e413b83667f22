"""Takes a backup, while the control plane runs or not."""

import fcntl
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from headwater_wire import digests, durable
from headwater_wire.ids import Digest

from headwater_control.backup.manifest import BadBackup, Entry, Manifest, OnBytes, copied, write
from headwater_control.config import Settings
from headwater_control.datadir import DATABASE_ID
from headwater_control.edges.store import OtherRevision, UnknownRevision, UnusableUrl, open_store, parsed
from headwater_control.ports import Busy, Transaction

DATABASE = "headwater.db"
CONFIG = "headwater.toml"
_KEYS = ("ca", "keys")
# Who led, whose leases a restored control plane ends at once; how often it was restored; whose database the blobs need.
_STATE = ("holder", "era", DATABASE_ID)
_PINS = "backup-"  # how the folder's name begins in which blobs are pinned
_LOCK = "lock"  # in there: locked while a backup is taken
_TRIES = 20

Live = frozenset[Digest]


async def take(
    settings: Settings, target: Path, *, config: Path | None = None, on_bytes: OnBytes = lambda done, total: None
) -> Manifest:
    """Copy what `settings` names, and their file, to a new folder; raise `BadBackup`, having left nothing there.

    SQLite's online backup (sqlite.org/backup.html) gives the database as of one moment. The blobs that it names are
    pinned by hard links, so that nobody deletes them while they are copied. Keys follow, then the manifest.

    The copy of SQLite's file is brought to this release's tables, and the file itself left as it is: what this release
    takes it can restore, and an older one can't. A database on PostgreSQL is only read; one that is not at this
    release's revision is refused.
    """
    data = settings.data_path
    own = _own_database(settings)
    _check(data, own, target)
    try:
        durable.make_dirs(target, private=True)
        with _pinning(data / "work") as pins:
            live, missing, audit_entries = await _frozen(own, settings.database_url, target, data, pins)
            files, damaged = _copied(data, target, live - missing, pins, on_bytes)
        if config is not None:
            files += (copied(config, target, CONFIG),)
        made = Manifest(
            made_at=datetime.now(UTC),
            headwater=version("headwater"),
            database="sqlite" if own else "postgresql",
            audit_entries=audit_entries,
            endpoints=_endpoints(data),
            files=files,
            lacking=tuple(sorted(missing | damaged)),
        )
        write(target, made)
    except BaseException as error:
        rmtree(target, ignore_errors=True)
        if isinstance(error, OSError | sqlite3.Error):
            raise BadBackup(f"the backup can't be taken: {error}") from error
        raise
    return made


def _own_database(settings: Settings) -> Path | None:
    """Say where SQLite's file is; None: the database is PostgreSQL. Raises `BadBackup`."""
    try:
        url = parsed(settings.database_url)
    except UnusableUrl as error:
        raise BadBackup(str(error)) from error
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def _check(data: Path, own: Path | None, target: Path) -> None:
    if not (data / "keys").is_dir() or (own is not None and not own.is_file()):
        raise BadBackup(f"{data} is no control plane's data directory: say which with --data-dir, or --config")
    if target.exists():
        raise BadBackup(f"{target} is there already: a backup overwrites nothing, so choose another folder")
    if data.resolve() in target.resolve().parents:  # whatever leads there: `..`, a link
        raise BadBackup(f"{target} is inside of {data}: choose a folder elsewhere, best on another disk")


@contextmanager
def _pinning(work: Path) -> Iterator[Path]:
    """Open a folder for pins, and remove what killed backups left; raise `BadBackup` if it was emptied meanwhile."""
    work.mkdir(mode=0o700, exist_ok=True)
    _sweep(work)
    with TemporaryDirectory(prefix=_PINS, dir=work, ignore_cleanup_errors=True) as made, ExitStack() as lives:
        pins = Path(made)
        fcntl.flock(lives.enter_context((pins / _LOCK).open("w")), fcntl.LOCK_EX)
        try:
            yield pins
            (pins / _LOCK).stat()
        except FileNotFoundError as error:
            if Path(error.filename or "").parent != pins:
                raise
            raise BadBackup(
                f"{pins} was emptied while the backup was taken, as a control plane does at its start: take it again, "
                "once that runs"
            ) from error


def _sweep(work: Path) -> None:
    """Remove the pins of backups that were killed: nobody holds their lock."""
    for left in work.glob(f"{_PINS}*"):
        with suppress(OSError), (left / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rmtree(left, ignore_errors=True)


async def _frozen(own: Path | None, url: str, target: Path, data: Path, pins: Path) -> tuple[Live, Live, int]:
    """Copy the database as of one moment and pin what it names; give that, what is missing, and its audit entries.

    All is pinned before, and what has come since after. What came and went in between has the copy made anew: in a
    busy fleet deltas are merged, and deleted, several times a second. What is missing twice is lost.
    """
    missing: Live = frozenset()
    for _ in range(_TRIES):
        _pin(data, _present(data), pins)
        if own is not None:
            (target / DATABASE).unlink(missing_ok=True)
            _snapshot(own, target / DATABASE)
            url = f"sqlite:///{(target / DATABASE).absolute()}"
        live, audit_entries = await _named(url, migrates=own is not None)
        before, missing = missing, _pin(data, live, pins)
        if missing <= before:
            break
    if own is not None:
        _settle(target / DATABASE)
    return live, missing, audit_entries


def _snapshot(source: Path, target: Path) -> None:
    """Copy a database in one step, beside whoever writes to it; raise `BadBackup` if it is damaged."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.execute("PRAGMA query_only = ON")
        reading.backup(writing)
        (found,) = writing.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise BadBackup(f"the database {source} is damaged ({found}): restore the last backup that could be taken")


def _settle(database: Path) -> None:
    """Leave the copy one file, on disk."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    with database.open("rb") as file:
        durable.fsync(file.fileno())


async def _named(url: str, *, migrates: bool) -> tuple[Live, int]:
    async with _view(url, migrates=migrates) as tx:
        return await tx.live_blobs(), (await tx.audit.head()).number


@asynccontextmanager
async def _view(url: str, *, migrates: bool) -> AsyncIterator[Transaction]:
    """Open a view of the database; raise `BadBackup` if it can't be had."""
    async with AsyncExitStack() as lives:
        try:
            store = await lives.enter_async_context(open_store(url, migrates=migrates))
            view = await lives.enter_async_context(store.read())
        except (OtherRevision, UnknownRevision) as error:
            raise BadBackup(f"{error}: take it with the Headwater that serves from it") from error
        except Exception as error:  # whatever a driver raises: who takes it needs the reason, not the trace
            reason = next(iter(str(error).splitlines()), repr(error))
            raise BadBackup(
                f"the database can't be opened: {reason}; is `database` right, and is it running?"
            ) from error
        try:
            yield view
        except Busy as error:
            raise BadBackup(f"the database can't be read: {error}") from error


def _present(data: Path) -> Live:
    return frozenset(Digest(place.name) for place in (data / "blobs" / "objects").glob("??/" + "[0-9a-f]" * 64))


def _pin(data: Path, live: Live, pins: Path) -> Live:
    """Give each blob a second name; return those that are not there."""
    for digest in live:
        with suppress(FileExistsError, FileNotFoundError):
            os.link(_blob(data, digest), pins / digest)
    return frozenset(digest for digest in live if not (pins / digest).exists())


def _copied(data: Path, target: Path, pinned: Live, pins: Path, on_bytes: OnBytes) -> tuple[tuple[Entry, ...], Live]:
    """Copy what is pinned, then who the control plane is; give the files, and the blobs that are damaged."""
    sources: Mapping[Digest, Path] = {digest: pins / digest for digest in sorted(pinned)}
    total, done = sum(source.stat().st_size for source in sources.values()), 0
    files, damaged = [], set()
    for digest, source in sources.items():
        path = str(_blob(Path(), digest))
        entry = copied(source, target, path)
        if entry.sha256 == digest:
            files.append(entry)
        else:
            (target / path).unlink()
            damaged.add(digest)
        done += entry.size
        on_bytes(done, total)
    files += [copied(data / path, target, path) for path in _identity(data)]
    if (target / DATABASE).is_file():
        files.append(_entry(target, DATABASE))
    for folder in {(target / entry.path).parent for entry in files}:
        durable.sync_directory(folder)
    return tuple(files), frozenset(damaged)


def _identity(data: Path) -> list[str]:
    """Name the files by which the control plane is known: authority, signing keys, and who led."""
    named = [place for folder in _KEYS for place in sorted((data / folder).rglob("*")) if place.is_file()]
    named += [place for place in (data / name for name in _STATE) if place.is_file()]
    return [str(place.relative_to(data)) for place in named if not place.name.startswith(".")]


def _entry(folder: Path, path: str) -> Entry:
    blob = digests.of_file(folder / path)
    return Entry(path, blob.size, blob.digest)


def _endpoints(data: Path) -> dict[str, str]:
    """Read where it is reached; nothing, if it does not run."""
    try:
        told = json.loads((data / "endpoints.json").read_text())
        return {name: str(told[name]) for name in ("http", "grpc", "mqtt", "enrol")}
    except (OSError, ValueError, KeyError):
        return {}


def _blob(data: Path, digest: Digest) -> Path:
    return data / "blobs" / "objects" / digest[:2] / digest
