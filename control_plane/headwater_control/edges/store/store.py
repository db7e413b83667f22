"""The store: consistent views, and transactions that are durable once committed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import sqlalchemy as sa
from headwater_wire.ids import Digest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel import SQLModel

from headwater_control.core.runs import RoundState
from headwater_control.edges.store.audit import SqlAudit
from headwater_control.edges.store.bundles import SqlBundles
from headwater_control.edges.store.devices import SqlDevices
from headwater_control.edges.store.engines import ANSWER_S, Engines, is_missing, make_private, opened, parsed
from headwater_control.edges.store.finished import finished
from headwater_control.edges.store.members import SqlInvites, SqlMembers
from headwater_control.edges.store.migrate import NoTables, migrate, require_current
from headwater_control.edges.store.models import SqlModels
from headwater_control.edges.store.rollouts import SqlRollouts
from headwater_control.edges.store.rows import Rows, translated
from headwater_control.edges.store.runs import SqlRuns
from headwater_control.edges.store.soundness import check
from headwater_control.edges.store.tasks import SqlTasks
from headwater_control.edges.store.tokens import SqlTokens
from headwater_control.ports import Busy

_DIGESTS_PER_STATEMENT = 1000
_FINAL_ROUNDS = [state.value for state in RoundState if state.final]


class SqlTransaction:
    """All repositories on one connection."""

    def __init__(self, connection: AsyncConnection, *, writable: bool) -> None:
        self._rows = rows = Rows(connection, writable=writable)
        self.devices = SqlDevices(rows)
        self.models = SqlModels(rows)
        self.bundles = SqlBundles(rows)
        self.runs = SqlRuns(rows)
        self.tasks = SqlTasks(rows)
        self.rollouts = SqlRollouts(rows)
        self.audit = SqlAudit(rows)
        self.tokens = SqlTokens(rows)
        self.invites = SqlInvites(rows)
        self.members = SqlMembers(rows)

    async def live_blobs(self, among: frozenset[Digest] | None = None) -> frozenset[Digest]:
        """Name every blob, or every one of `among`, that a row still needs.

        Those of bundles, graphs, versions and releases, and the deltas of rounds that may still be merged.
        """
        live = await self.bundles.blobs()
        if among is None:
            return live | {Digest(row[0]) for row in await self._rows.all(_LIVE)}
        live &= among
        some = sorted(among)
        for start in range(0, len(some), _DIGESTS_PER_STATEMENT):
            these = _LIVE.selected_columns.digest.in_(some[start : start + _DIGESTS_PER_STATEMENT])
            live |= {Digest(row[0]) for row in await self._rows.all(_LIVE.where(these))}
        return live


class SqlStore:
    """The database, migrated."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlTransaction]:
        """Open a consistent view."""
        async with _connected(self._engines.reading) as connection:
            yield SqlTransaction(connection, writable=False)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqlTransaction]:
        """Open a transaction: committed, durably, on a clean exit; rolled back on an exception."""
        async with self._in_turn(), _connected(self._engines.writing) as connection:
            yield SqlTransaction(connection, writable=True)
            with translated():
                await finished(connection.commit())

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        if not self._engines.one_writer:
            yield
            return
        try:
            async with asyncio.timeout(self._engines.wait_s):  # wait_for of Python 3.11 may swallow a cancellation
                await self._turn.acquire()
        except TimeoutError:
            raise Busy(
                "other transactions took too long: run it again (never open a write() within a write())"
            ) from None
        try:
            yield
        finally:
            self._turn.release()


@asynccontextmanager
async def open_store(
    url: str, *, wait_s: float = 10.0, answer_s: float = ANSWER_S, migrates: bool = True, begins: bool = True
) -> AsyncIterator[SqlStore]:
    """Open `sqlite:///path` or `postgresql://…`, bring its tables up to date, and close it at the end.

    `wait_s` bounds every wait for a lock or a connection, `answer_s` for PostgreSQL's answer: then comes `Busy`.
    Raises `UnusableUrl`, `UnknownRevision` if a newer Headwater has changed the tables, `Busy` if it can't be reached.
    Unless it `migrates` it leaves the tables as they are, and raises `OtherRevision` if they are not up to date.
    Unless one `begins` here it makes no database, and raises `NoTables` if there is none.
    A SQLite file is looked through first: raises `Damaged`, having changed nothing.
    """
    where = parsed(url)
    if begins:
        make_private(where)
    elif is_missing(where):
        raise NoTables
    if where.get_backend_name() == "sqlite":
        await asyncio.to_thread(check, Path(where.database or ""), wait_s)
    async with opened(where, wait_s, answer_s) as engines:
        with translated():
            await (migrate(where, begins=begins) if migrates else require_current(engines.reading))
        yield SqlStore(engines)


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    connection = engine.connect()
    try:
        try:
            with translated():
                await finished(connection.start())
                await finished(connection.begin().start())
        except OSError as error:
            raise Busy(f"the database can't be reached: {error}") from error
        yield connection
    finally:
        if connection.sync_connection is not None:  # else it could not be opened
            with translated():
                await finished(connection.close())  # rolls back what is not committed


def _live_blobs() -> sa.Select[str]:
    tables = SQLModel.metadata.tables
    model, version, task, round_ = (tables[name].c for name in ("model", "version", "task", "round"))
    same_round = sa.and_(task.run == round_.run, task.round == round_.number)
    columns = (
        model.bundle_digest,
        model.graph_digest,
        version.parameters_digest,
        version.onnx_digest,
        version.reference_digest,
    )
    deltas = (
        sa.select(task.delta_digest)
        .select_from(tables["task"].join(tables["round"], same_round))
        .where(round_.state.not_in(_FINAL_ROUNDS))
    )
    every = sa.union(*(sa.select(column.label("digest")) for column in columns), deltas).subquery()
    return sa.select(every.c.digest).where(every.c.digest.is_not(None))


_LIVE = _live_blobs()
