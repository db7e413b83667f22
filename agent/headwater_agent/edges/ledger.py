"""Named records in an SQLite file, each under a CRC and all under a seal, since SQLite does not notice flipped bits."""

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Self
from urllib.parse import quote
from zlib import crc32

from headwater_wire import durable
from headwater_wire.crashpoint import crashpoint

_SEAL = "seal"
_TOLD = "set aside"  # what was found wrong with the file before this one, until there is something new to remember
_PART, _READY = ".part", ".new"
_ASIDE_KEPT = 9
# ValueError: SQLite's own message may quote a damaged schema, and that may be no UTF-8.
_UNREADABLE = (sqlite3.Error, ValueError, OverflowError, MemoryError)
_THE_DISK_S = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


class Ledger:
    """Synchronous and for one thread; what `write` has returned from survives a power loss.

    A damaged file is set aside (as `.corrupt-N`) and what could be read of it goes on in a fresh one, whatever kills us
    meanwhile; `problems` says so until something is written. A sound one on a disk that is full, or fails now, is left
    as it is: raises `sqlite3.OperationalError`.
    """

    def __init__(self, path: Path) -> None:
        if _beside(path, _READY).exists():  # a crash came between
            _replace(path)
        rows: dict[str, bytes] = {}
        if path.exists():
            rows, problems = examine(path)
            if problems:
                before = _loaded(rows.get(_TOLD, b"[]"))
                told = (*before, *(f"{path.name}: {what}" for what in (*problems, f"set aside as {_aside(path).name}")))
                rows[_TOLD] = json.dumps(told).encode()
                _build(path, rows, _beside(path, _READY))
                _replace(path)
        else:
            _build(path, rows, path)
        self.problems = _loaded(rows.pop(_TOLD, b"[]"))
        self.rows = rows
        self._told = not self.problems
        self._connection = _connect(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Replace, insert and (None) delete records, all or nothing."""
        after = {**self.rows, **{key: body for key, body in changes.items() if body is not None}}
        for key in [key for key, body in changes.items() if body is None]:
            after.pop(key, None)
        _put(self._connection, changes if self._told else {**changes, _TOLD: None}, _seal(after))
        self._told = True
        self.rows = after


def examine(path: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Read all records of a file that are sound, and say what is wrong with the others.

    Raises `sqlite3.OperationalError` if it is not the file that is wrong, but its disk.
    """
    try:
        with closing(_connect(path)) as connection:
            return _read(connection)
    except _UNREADABLE as error:
        if _is_the_disk_s(error):
            raise
        return {}, (f"it can't be read at all ({error})",)


def inspect(path: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Read as `examine` does, but change nothing: an agent may be writing to it."""
    busy = path.with_name(f"{path.name}-wal").exists()
    try:
        # Without a log nobody has it open: SQLite then needs no files beside it.
        how = "mode=ro" if busy else "immutable=1"
        connection = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, isolation_level=None)
    except _UNREADABLE as error:
        return {}, (f"it can't be read at all ({error})",)
    connection.text_factory = bytes
    try:
        return _read(connection)
    except _UNREADABLE as error:
        return {}, (f"it can't be read at all ({error})",)
    finally:
        connection.close()


def _put(connection: sqlite3.Connection, changes: Mapping[str, bytes | None], seal: bytes) -> None:
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        for key, body in {**changes, _SEAL: seal}.items():
            if body is None:
                cursor.execute("DELETE FROM entry WHERE key = ?", (key,))
            else:
                cursor.execute("REPLACE INTO entry VALUES (?, ?, ?)", (key, body, _crc(key, body)))
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise


def _build(path: Path, rows: Mapping[str, bytes], target: Path) -> None:
    """Put a fresh file at `target`, whole or not at all: under another name until all of it is on the disk."""
    part = _beside(path, _PART)
    for left in (part, _beside(part, "-wal"), _beside(part, "-shm")):
        left.unlink(missing_ok=True)
    if target == path:
        _drop_log(path)
    with closing(_connect(part)) as connection:
        # WITHOUT ROWID: one tree, so that there is no index that could disagree with the table.
        connection.execute(
            "CREATE TABLE entry (key TEXT PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID"
        )
        crashpoint("agent.journal.begun")
        _put(connection, rows, _seal(rows))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # now, not when it is closed: that hides a full disk
    crashpoint("agent.journal.built")
    durable.adopt(part, target)
    crashpoint("agent.journal.ready")


def _replace(path: Path) -> None:
    """Keep the damaged file under another name, and put the fresh one in its place; to be done again after a crash.

    From here on the fresh one counts. The damaged one's log goes first: SQLite would take it for the fresh one's.
    """
    if path.exists():
        _keep(path, _aside(path))
    crashpoint("agent.journal.aside")
    _drop_log(path)
    crashpoint("agent.journal.dropped")
    durable.adopt(_beside(path, _READY), path)
    crashpoint("agent.journal.replaced")


def _keep(path: Path, aside: Path) -> None:
    if aside.exists():
        if aside.samefile(path):  # a crash came right after
            return
        aside.unlink()
    try:
        os.link(path, aside)
    except OSError:  # a file system without links
        durable.write(aside, path.read_bytes(), private=True)
    durable.sync_directory(path.parent)


def _aside(path: Path) -> Path:
    """Name what a damaged file is kept as: a free name, the last one if there is none, or where it is kept already."""
    names = [_beside(path, f".corrupt-{n}") for n in range(1, _ASIDE_KEPT + 1)]
    kept = (name for name in names if path.exists() and name.exists() and name.samefile(path))
    return next(kept, None) or next((name for name in names if not name.exists()), names[-1])


def _drop_log(path: Path) -> None:
    left = [log for log in (_beside(path, "-wal"), _beside(path, "-shm")) if log.exists()]
    for log in left:
        log.unlink()
    if left:
        durable.sync_directory(path.parent)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _loaded(told: bytes) -> tuple[str, ...]:
    try:
        return tuple(str(line) for line in json.loads(told))
    except (ValueError, TypeError):  # no release of ours has written it
        return ()


def _is_the_disk_s(error: BaseException) -> bool:
    """Say whether the disk refuses now; a file that ends too early is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code != sqlite3.SQLITE_IOERR_SHORT_READ and code & 0xFF in _THE_DISK_S


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)  # what SQLite puts beside it gets the same mode
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.text_factory = bytes  # a flipped bit may be no UTF-8
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-256", "wal_autocheckpoint=64"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _read(connection: sqlite3.Connection) -> tuple[dict[str, bytes], tuple[str, ...]]:
    rows: dict[str, bytes] = {}
    problems = []
    if (verdict := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != b"ok":
        problems.append(f"its structure is damaged ({verdict.decode(errors='replace')[:200]!r})")
    for key, body, crc in connection.execute("SELECT key, body, crc FROM entry ORDER BY key"):
        name = key.decode(errors="replace") if isinstance(key, bytes) else repr(key)
        if not isinstance(body, bytes) or crc != _crc(name, body):
            problems.append(f"the record {name[:80]!r} is damaged and was left out")
        else:
            rows[name] = body
    seal = rows.pop(_SEAL, None)
    if seal != _seal(rows):
        problems.append(f"records are missing or out of date; the {len(rows)} others were kept")
    return rows, tuple(problems)


def _crc(key: str, body: bytes) -> int:
    return crc32(key.encode() + b"\0" + body)


def _seal(rows: Mapping[str, bytes]) -> bytes:
    listing = "".join(f"{key}={_crc(key, rows[key])}\n" for key in sorted(rows))
    return f"{len(rows)}:{crc32(listing.encode())}".encode()
