"""Takes a backup, while the control plane runs or not."""

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from headwater_wire import digests, durable
from headwater_wire.ids import Digest
from sqlalchemy.engine import make_url

from headwater_control.backup.manifest import BadBackup, Entry, Manifest, OnBytes, copied, write
from headwater_control.config import Settings
from headwater_control.edges.store import open_store

DATABASE = "headwater.db"
CONFIG = "headwater.toml"
_KEYS = ("ca", "keys")
_STATE = ("holder", "era")  # who led: a restored control plane ends its leases at once; and how often it was restored
_TRIES = 20

Live = frozenset[Digest]


async def take(
    settings: Settings, target: Path, *, config: Path | None = None, on_bytes: OnBytes = lambda done, total: None
) -> Manifest:
    """Copy what `settings` names, and their file, to a new folder; raise `BadBackup`, having left nothing there.

    SQLite's online backup (sqlite.org/backup.html) gives the database as of one moment. The blobs that it names are
    pinned by hard links, so that nobody deletes them while they are copied. Keys follow, then the manifest.
    """
    data = settings.data_path
    own = _own_database(settings)
    _check(data, own, target)
    try:
        durable.make_dirs(target, private=True)
        (data / "work").mkdir(mode=0o700, exist_ok=True)
        with TemporaryDirectory(prefix="backup-", dir=data / "work", ignore_cleanup_errors=True) as pins:
            live, audit_entries = await _frozen(own, settings.database_url, target, data, Path(pins))
            files, lacking = _copied(data, target, live, Path(pins), on_bytes)
        if config is not None:
            files += (copied(config, target, CONFIG),)
        made = Manifest(
            made_at=datetime.now(UTC),
            headwater=version("headwater"),
            database="sqlite" if own else "postgresql",
            audit_entries=audit_entries,
            endpoints=_endpoints(data),
            files=files,
            lacking=lacking,
        )
        write(target, made)
    except BaseException as error:
        rmtree(target, ignore_errors=True)
        if isinstance(error, OSError | sqlite3.Error):
            raise BadBackup(f"the backup can't be taken: {error}") from error
        raise
    return made


def _own_database(settings: Settings) -> Path | None:
    """Say where SQLite's file is; None: the database is PostgreSQL."""
    url = make_url(settings.database_url)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def _check(data: Path, own: Path | None, target: Path) -> None:
    if not (data / "keys").is_dir() or (own is not None and not own.is_file()):
        raise BadBackup(f"{data} is no control plane's data directory: say which with --data-dir, or --config")
    if target.exists():
        raise BadBackup(f"{target} is there already: a backup overwrites nothing, so choose another folder")
    if data in target.absolute().parents:
        raise BadBackup(f"{target} is inside of {data}: choose a folder elsewhere, best on another disk")


async def _frozen(own: Path | None, url: str, target: Path, data: Path, pins: Path) -> tuple[Live, int]:
    """Copy the database as of one moment and pin what it names; give that, and how many audit entries it has.

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
        live, audit_entries = await _named(url)
        before, missing = missing, _pin(data, live, pins)
        if missing <= before:
            break
    if own is not None:
        _settle(target / DATABASE)
    return live, audit_entries


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


async def _named(url: str) -> tuple[Live, int]:
    async with open_store(url) as store, store.read() as tx:
        return await tx.live_blobs(), (await tx.audit.head()).number


def _present(data: Path) -> Live:
    return frozenset(Digest(place.name) for place in (data / "blobs" / "objects").glob("??/" + "[0-9a-f]" * 64))


def _pin(data: Path, live: Live, pins: Path) -> Live:
    """Give each blob a second name; return those that are not there."""
    for digest in live:
        with suppress(FileExistsError, FileNotFoundError):
            os.link(_blob(data, digest), pins / digest)
    return frozenset(digest for digest in live if not (pins / digest).exists())


def _copied(
    data: Path, target: Path, live: Live, pins: Path, on_bytes: OnBytes
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Copy what is pinned, then who the control plane is; give the files, and the blobs that are missing or damaged."""
    sources: Mapping[str, Path] = {str(_blob(Path(), digest)): pins / digest for digest in sorted(live)}
    present = {path: source for path, source in sources.items() if source.is_file()}
    total, done = sum(source.stat().st_size for source in present.values()), 0
    files, lacking = [], [path for path in sources if path not in present]
    for path, source in present.items():
        entry = copied(source, target, path)
        if entry.sha256 == source.name:
            files.append(entry)
        else:
            (target / path).unlink()
            lacking.append(path)
        done += entry.size
        on_bytes(done, total)
    files += [copied(data / path, target, path) for path in _identity(data)]
    if (target / DATABASE).is_file():
        files.append(_entry(target, DATABASE))
    for folder in {(target / entry.path).parent for entry in files}:
        durable.sync_directory(folder)
    return tuple(files), tuple(sorted(Path(path).name for path in lacking))


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
