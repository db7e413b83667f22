"""How each of the two databases is opened: what must be set, and why."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json  # three times as fast as json.loads, which is most of listing a fleet
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_CONNECTIONS = 10  # to PostgreSQL, for each replica
_STATEMENT_S = 60.0  # of PostgreSQL's own: what takes longer it ends itself, and says so
ANSWER_S = _STATEMENT_S + 15.0  # beyond that it hangs, or what is between us and it: nothing else would end the wait
_READERS = 4  # SQLite: each is a thread
_WAL_KEPT_BYTES = 64 * 2**20  # SQLite: a larger log shrinks back to this at the next checkpoint
_CACHE_KIB = 512  # of each connection, a quarter of the default: the kernel keeps what is read often, once for all


class UnusableUrl(ValueError):
    """A database setting that names neither of the two databases."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}: set it to sqlite:////var/lib/headwater/headwater.db or postgresql://user@host/name")


@dataclass(frozen=True, slots=True)
class Engines:
    """One way to read and one to write. `one_writer`: the database takes one at a time, so queue before it."""

    reading: AsyncEngine
    writing: AsyncEngine
    one_writer: bool
    wait_s: float  # for a lock, a connection or one's turn


def parsed(url: str) -> URL:
    """Read the setting, and name the driver; raise `UnusableUrl`."""
    try:
        given = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number
        raise UnusableUrl("the database setting is not a URL") from None  # it may hold a password: don't repeat it
    if given.get_backend_name() == "postgresql":
        return given.set(drivername="postgresql+asyncpg")
    if given.get_backend_name() != "sqlite":
        raise UnusableUrl(f"{given.get_backend_name()} is not supported")
    if given.database in {None, "", ":memory:"}:
        raise UnusableUrl("an in-memory database would lose acknowledged deltas")
    return given.set(drivername="sqlite+aiosqlite")


def make_private(url: URL) -> None:
    """Make SQLite's file, if it is missing, its owner's alone: its log and index get the same mode from SQLite.

    https://www.sqlite.org/walformat.html has them beside it; by itself SQLite would go by the umask.
    """
    if url.get_backend_name() == "sqlite" and url.database is not None:
        with suppress(OSError):  # SQLite can't open it then, and says why
            os.close(os.open(url.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def is_missing(url: URL) -> bool:
    """Say whether there is no SQLite file, or one with nothing in it: to connect to it would make one."""
    place = Path(url.database or "")
    return url.get_backend_name() == "sqlite" and not (place.is_file() and place.stat().st_size)


@asynccontextmanager
async def opened(url: URL, wait_s: float, answer_s: float = ANSWER_S) -> AsyncIterator[Engines]:
    """Open the pools, and close every connection at the end. PostgreSQL is given up if it is silent for `answer_s`."""
    engines = _sqlite(url, wait_s) if url.get_backend_name() == "sqlite" else _postgres(url, wait_s, answer_s)
    try:
        yield engines
    finally:
        with suppress(TimeoutError):  # PostgreSQL would have to answer for each of them: the kernel closes what is left
            async with asyncio.timeout(None if engines.one_writer else wait_s):
                await engines.reading.dispose()
                await engines.writing.dispose()


def _postgres(url: URL, wait_s: float, answer_s: float) -> Engines:
    settings = {
        "application_name": "headwater",
        "lock_timeout": f"{wait_s * 1000:.0f}ms",
        "statement_timeout": f"{_STATEMENT_S:.0f}s",
        "idle_in_transaction_session_timeout": "60s",  # of a replica that hangs, the locks are freed
    }
    engine = create_async_engine(
        url,
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=wait_s,
        json_deserializer=from_json,
        pool_pre_ping=True,  # a restarted database must not fail the first request after it
        connect_args={"server_settings": settings, "timeout": wait_s, "command_timeout": answer_s},
    )

    @sa.event.listens_for(engine.sync_engine, "handle_error")
    def give_up(context: ExceptionContext) -> None:
        if isinstance(context.original_exception, TimeoutError):  # else the rollback would wait as long again
            context.is_disconnect = True

    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Engines(reading=reading, writing=engine, one_writer=False, wait_s=wait_s)


def _sqlite(url: URL, wait_s: float) -> Engines:
    # IMMEDIATE: to read first and write later fails at once, without waiting, if another process wrote in between.
    return Engines(
        reading=_sqlite_engine(url, wait_s, connections=_READERS, begin="BEGIN", last="query_only = ON"),
        writing=_sqlite_engine(url, wait_s, connections=1, begin="BEGIN IMMEDIATE", last="query_only = OFF"),
        one_writer=True,
        wait_s=wait_s,
    )


def _sqlite_engine(url: URL, wait_s: float, *, connections: int, begin: str, last: str) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=wait_s,
        json_deserializer=from_json,
        connect_args={"isolation_level": None},  # the driver must not begin transactions of its own
    )
    pragmas = (
        f"busy_timeout = {wait_s * 1000:.0f}",
        "journal_mode = WAL",
        "synchronous = FULL",  # under WAL, NORMAL may lose acknowledged commits at a power cut
        "foreign_keys = ON",
        f"journal_size_limit = {_WAL_KEPT_BYTES}",
        f"cache_size = -{_CACHE_KIB}",
        last,
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
