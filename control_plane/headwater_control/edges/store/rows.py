"""Statements within one transaction, with the databases' errors in the port's words."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from headwater_control.edges.store.finished import finished
from headwater_control.ports import AlreadyExists, Busy, Damaged

Values = Mapping[str, Any]
Row = sa.Row[*tuple[Any, ...]]
Query = sa.Select[*tuple[Any, ...]]

# https://www.postgresql.org/docs/current/errcodes-appendix.html: connection, resources, rolled back, locks, shut down
_PASSING_PG = ("08", "40", "53", "55P03", "57")
_PASSING_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_NOMEM")
_DAMAGED = ("XX001", "XX002", "SQLITE_CORRUPT", "SQLITE_NOTADB")


class Rows:
    """Runs statements on one connection."""

    def __init__(self, connection: AsyncConnection, *, writable: bool) -> None:
        self._connection = connection
        self._writable = writable

    @property
    def on_postgres(self) -> bool:
        """Say which of the two databases this is."""
        return self._connection.dialect.name == "postgresql"

    async def all(self, query: Query) -> Sequence[Row]:
        """Read every row."""
        with translated():
            return (await finished(self._connection.execute(query))).all()

    async def one(self, query: Query, *, lock: bool = False) -> Row | None:
        """Read the only row, or None; with `lock` nobody else changes it until the transaction ends."""
        if lock:
            return (await self.lock(query)).one_or_none()
        with translated():
            return (await finished(self._connection.execute(query))).one_or_none()

    async def lock(self, query: Query) -> sa.CursorResult[*tuple[Any, ...]]:
        """Read rows that nobody else changes until the transaction ends (SQLite has one writer, and needs no lock)."""
        self._check_writable()
        with translated():  # FOR NO KEY UPDATE: new rows may still refer to these
            return await finished(self._connection.execute(query.with_for_update(key_share=True)))

    async def change(self, statement: sa.Executable, values: Values | Sequence[Values] | None = None) -> int:
        """Run a statement, or run it for many values at once; return how many rows it met (of one, not of many)."""
        self._check_writable()
        with translated():
            return (await finished(self._connection.execute(statement, values))).rowcount

    async def change_returning(self, statement: sa.Executable) -> Sequence[Row]:
        """Run a statement that ends with RETURNING."""
        self._check_writable()
        with translated():
            return (await finished(self._connection.execute(statement))).all()

    async def upsert(self, table: sa.Table, values: Values) -> None:
        """Insert a row, or replace the values of the one with the same key."""
        await self.change(_upsert(table, on_postgres=self.on_postgres), values)

    @asynccontextmanager
    async def all_or_nothing(self) -> AsyncIterator[None]:
        """Undo only these statements on an exception: PostgreSQL refuses all further ones after an error otherwise."""
        self._check_writable()
        savepoint = self._connection.begin_nested()
        with translated():
            await finished(savepoint.start())
        try:
            yield
        except BaseException:
            with translated():
                await finished(savepoint.rollback())
            raise
        with translated():
            await finished(savepoint.commit())

    def _check_writable(self) -> None:
        if not self._writable:
            raise RuntimeError("nothing can be changed or locked in a read(): open a write()")


@cache  # to build it takes longer than to run it
def _upsert(table: sa.Table, *, on_postgres: bool) -> sa.Insert:
    insert = postgresql.insert(table) if on_postgres else sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    replaced = {column.name: insert.excluded[column.name] for column in table.c if column.name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=replaced)


@contextmanager
def translated() -> Iterator[None]:
    """Raise the port's errors: AlreadyExists, Busy, Damaged, and KeyError for a row that refers to nothing."""
    try:
        yield
    except IntegrityError as error:
        if _code(error) in {"23505", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
            raise AlreadyExists(f"it exists already: {error.orig}") from error
        if _code(error) in {"23503", "SQLITE_CONSTRAINT_FOREIGNKEY"}:
            raise KeyError(f"it refers to what is not there: {error.orig}") from error
        raise
    except DBAPIError as error:
        if error.connection_invalidated or _code(error).startswith((*_PASSING_PG, *_PASSING_SQLITE)):
            raise Busy(f"the database gave the transaction up, run it again: {error.orig}") from error
        if _code(error).startswith(_DAMAGED):
            raise Damaged(str(error.orig)) from error
        raise
    except TimeoutError as error:
        raise Busy("the database does not answer: run it again later") from error
    except PoolTimeout as error:
        raise Busy("every database connection is taken: run it again later, or allow more of them") from error


def _code(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None) or "")
