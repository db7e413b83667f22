"""Brings a database's tables to this release's revision, once, whoever else starts at the same time."""

import asyncio
import logging
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from headwater_control.ports import Busy

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x6865_6164_7761_7465  # "headwate": a key of our own among PostgreSQL's advisory locks
_WAIT_S = 60.0  # for another replica's migration
_LOOK_AGAIN_S = 0.05


class UnknownRevision(Exception):
    """A database whose tables a newer Headwater has changed."""

    def __init__(self, database: str, found: str, head: str) -> None:
        super().__init__(
            f"{database} is at revision {found!r}, which this Headwater (its newest is {head!r}) does not know: "
            "a newer one has used it. Start that one, or restore the backup made before the upgrade"
        )
        self.found = found
        self.head = head


class OtherRevision(Exception):
    """A database whose tables are not those of this release, where nothing may be changed."""

    def __init__(self, found: str | None, head: str) -> None:
        super().__init__(
            f"the database is at revision {found!r}, and this Headwater's is {head!r}"
            if found
            else "the database has no tables of Headwater's"
        )
        self.found = found
        self.head = head


class NoTables(Exception):
    """A database that is new, or empty, where one is expected that was served from before."""


async def migrate(url: URL, revision: str = "head", *, begins: bool = True) -> None:
    """Run what is missing up to `revision`, in one transaction; raise `UnknownRevision`, or `Busy` if out of reach.

    Unless one may begin, a database without tables is left so: raise `NoTables`.
    """
    on_sqlite = url.get_backend_name() == "sqlite"
    own = {"isolation_level": None, "timeout": _WAIT_S} if on_sqlite else {"timeout": _WAIT_S}
    engine = create_async_engine(url, poolclass=NullPool, connect_args=own)
    try:
        async with engine.connect() as connection:
            if on_sqlite:
                await _log_ahead(connection)
            if not begins and await connection.run_sync(_revision) is None:
                raise NoTables
            await connection.run_sync(_on_sqlite if on_sqlite else _on_postgres, revision)
    except OSError as error:
        raise Busy(f"the database can't be reached: {error}") from error
    finally:
        await engine.dispose()


async def require_current(engine: AsyncEngine) -> None:
    """Change nothing; raise `OtherRevision` unless the tables are this release's, or `Busy` if out of reach."""
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(_revision)
    except OSError as error:
        raise Busy(f"the database can't be reached: {error}") from error
    head = ScriptDirectory.from_config(config()).get_current_head() or ""
    if found != head:
        raise OtherRevision(found, head)


def config(connection: sa.Connection | None = None) -> Config:
    """Say to Alembic where the revisions are, without its file or its logging."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    made = Config(attributes={"connection": connection})
    made.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    made.set_main_option("file_template", "v%%(rev)s_%%(slug)s")  # a module's name can't begin with a digit
    return made


async def _log_ahead(connection: AsyncConnection) -> None:
    # SQLite's own waiting doesn't cover this statement: while another replica is at it too, it fails at once.
    until = asyncio.get_running_loop().time() + _WAIT_S
    while True:
        try:
            await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except OperationalError as error:
            if asyncio.get_running_loop().time() >= until:
                raise Busy(f"the database stays locked by another process: {error.orig}") from error
        await asyncio.sleep(_LOOK_AGAIN_S)


def _on_postgres(connection: sa.Connection, revision: str) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT_S:.0f}s'")
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    _upgrade(connection, revision)
    connection.commit()


def _on_sqlite(connection: sa.Connection, revision: str) -> None:
    # Alembic changes a SQLite table by copying and dropping it, which foreign keys would turn into deleting its rows;
    # the pragmas have no effect within a transaction.
    for statement in ("PRAGMA foreign_keys = OFF", "BEGIN IMMEDIATE"):
        connection.exec_driver_sql(statement)
    _upgrade(connection, revision)
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise RuntimeError(f"the migration would leave {len(broken)} rows that refer to nothing; nothing was changed")
    connection.commit()


def _upgrade(connection: sa.Connection, revision: str) -> None:
    settings = config(connection)
    script = ScriptDirectory.from_config(settings)
    found = _revision(connection)
    head = script.get_current_head() or ""
    known = {each.revision for each in script.walk_revisions()}
    if found is not None and found not in known:
        raise UnknownRevision(connection.engine.url.render_as_string(hide_password=True), found, head)
    if found != (head if revision == "head" else revision):
        command.upgrade(settings, revision)


def _revision(connection: sa.Connection) -> str | None:
    found: str | None = MigrationContext.configure(connection).get_current_revision()
    return found
