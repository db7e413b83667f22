"""How a database comes to this release's tables."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from headwater_control.core.audit import Caller, deed
from headwater_control.core.authority import ApiToken, Role
from headwater_control.core.identity import Certificate, Invite, Standing
from headwater_control.core.runs import RunState
from headwater_control.edges.store import open_store
from headwater_control.edges.store.engines import parsed
from headwater_control.edges.store.migrate import UnknownRevision, config, migrate
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import SQLModel

from tests.support.postgres import fresh_database
from tests.support.rows import BOX, DIGITS, FIRST, NOW, ROLLOUT, RUN, deployment, device, later, rollout

REVISIONS = [revision.revision for revision in reversed([*ScriptDirectory.from_config(config()).walk_revisions()])]
ROWS = {
    "0001": (
        "INSERT INTO device VALUES ('box-1', :now, '{}', '{}', '[]', '[]', '', 3, 0, 0, 0, :no, NULL, NULL)",
        "INSERT INTO model VALUES ('digits', 'a', 1, 'b', 2, 'cross_entropy', 1000, :now, 1)",
        "INSERT INTO version VALUES ('digits-1', 'digits', 1, 'c', 3, NULL, NULL, NULL, :now, NULL, NULL, NULL, NULL)",
    ),
    "0002": (
        """INSERT INTO run VALUES ('run-1', '{"model": "digits", "dataset": "digits", "base": "digits-1"}', 'running',
        'digits-1', 1, :now, '', NULL, 'one', :now, 1)""",
        """INSERT INTO round VALUES ('run-1', 1, 'collecting', 'digits-1', :no, :now, 1, 1, NULL, '[]', NULL, NULL,
        NULL, '')""",
        """INSERT INTO task VALUES ('t1', 'run-1', 1, 'box-1', 0, 'open', :now, :now, NULL, 0, 0, 0.0, '', NULL, '',
        NULL, NULL, '', NULL, 0, 0, NULL)""",
    ),
    "0003": (),
    "0004": ("INSERT INTO bundle VALUES ('digits', 'sgd', 'd', 4, '[]')",),
    "0005": (),
    "0006": (
        "INSERT INTO token VALUES ('token-1', 'ci', 'ab', 'viewer', '{}', :now, 'token:first', NULL, NULL, NULL)",
    ),
    "0007": (
        "INSERT INTO invite VALUES ('invite-1', 'ab', :now, 'token:first', :now, '', '{}', 3, 1)",
        "INSERT INTO standing VALUES ('box-1', :now, '{}', :now, 'stolen')",
        "INSERT INTO certificate VALUES ('7f', 'box-1', 'cd', :now, :now, 'invite-1', NULL)",
    ),
    "0008": (),
    "0009": (),
    "0010": (),
}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    """Open a connection apart from the store's."""
    engine = create_async_engine(parsed(url), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


async def looked_at(url: str, look: Callable[[sa.Connection], Any]) -> Any:
    """Ask something of a database."""
    async with connected(url) as connection:
        return await connection.run_sync(look)


def revision_of(connection: sa.Connection) -> str | None:
    """Tell which revision a database is at."""
    return MigrationContext.configure(connection).get_current_revision()


def tables_of(connection: sa.Connection) -> set[str]:
    """Name the tables."""
    return set(sa.inspect(connection).get_table_names())


async def fill(url: str, revision: str) -> None:
    """Add rows to the tables that a revision made."""
    async with connected(url) as connection:
        for statement in ROWS[revision]:
            values = {"now": NOW, "no": False}
            asked = {name: value for name, value in values.items() if f":{name}" in statement}
            times = [sa.bindparam("now", type_=sa.DateTime(timezone=True))] if "now" in asked else []
            await connection.execute(sa.text(statement).bindparams(*times), asked)


async def test_an_empty_database_gets_the_tables_that_the_code_describes(url: str) -> None:
    """After the last revision Alembic finds nothing that it would change."""
    async with open_store(url):
        pass

    def differences(connection: sa.Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection), SQLModel.metadata)

    assert await looked_at(url, differences) == []
    assert await looked_at(url, revision_of) == REVISIONS[-1]


@pytest.mark.parametrize("previous", REVISIONS)
async def test_an_older_database_keeps_its_rows(url: str, previous: str) -> None:
    """From each revision, with rows in it, a start goes to the last, if it is not there, and everything is kept."""
    for revision in REVISIONS[: REVISIONS.index(previous) + 1]:  # rows of a release fit its own tables
        await migrate(parsed(url), revision)
        assert await looked_at(url, revision_of) == revision
        await fill(url, revision)
    async with open_store(url) as store, store.write() as tx:
        assert await tx.devices.get(BOX) == device(revision=3)
        assert [version.id for version in await tx.models.versions(DIGITS)] == [FIRST]
        if previous >= "0002":
            found = await tx.runs.get(RUN)
            assert found is not None
            assert (found.state, found.spec.rounds) == (RunState.RUNNING, 10)
            assert await tx.runs.lead(RUN, "one", later(1), 5) == 1
            assert [task.id for task in await tx.tasks.open_of(BOX)] == ["t1"]
        if previous >= "0006":
            assert await tx.tokens.all() == (ApiToken("token-1", "ci", "ab", Role.VIEWER, (), NOW, "token:first"),)
        if previous >= "0007":
            assert await tx.invites.all() == (Invite("invite-1", "ab", NOW, "token:first", NOW, uses=3, used=1),)
            assert await tx.members.standing(BOX) == Standing(BOX, NOW, (), NOW, "stolen")
            assert await tx.members.certificates(BOX) == (Certificate("7f", BOX, "cd", NOW, NOW, "invite-1"),)
        await tx.rollouts.add(rollout(), [deployment(rollout())])
        entry = await tx.audit.append(deed("rollout.start", ROLLOUT, None, rollout()), Caller("somebody"), NOW)
        assert (entry.number, await tx.audit.head()) == (1, entry.head)
    assert await looked_at(url, revision_of) == REVISIONS[-1]


async def test_a_database_of_a_newer_release_is_refused(url: str) -> None:
    """Its revision is unknown here: the error says so, and what to do; nothing is changed."""
    async with open_store(url):
        pass
    async with connected(url) as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UnknownRevision, match=r"'9999'.*newer.*restore the backup"):
        async with open_store(url):
            raise AssertionError("it was opened")
    assert await looked_at(url, revision_of) == "9999"


async def test_a_migration_that_fails_changes_nothing(url: str) -> None:
    """All revisions are one transaction: a failing one leaves the database as it was, to try again."""
    await migrate(parsed(url), "0001")
    async with connected(url) as connection:
        await connection.execute(sa.text("CREATE TABLE rollout (in_the_way INTEGER)"))
    with pytest.raises(DBAPIError, match="already exists"):
        async with open_store(url):
            raise AssertionError("it was opened")
    assert await looked_at(url, revision_of) == "0001"
    assert await looked_at(url, tables_of) == {"alembic_version", "device", "model", "version", "rollout"}
    async with connected(url) as connection:
        await connection.execute(sa.text("DROP TABLE rollout"))
    async with open_store(url):
        pass


async def test_replicas_that_start_at_once_migrate_once(url: str) -> None:
    """One does the work, the others wait for it; all of them then work."""

    async def start(number: int) -> None:
        async with open_store(url) as store, store.write() as tx:
            await tx.devices.save(device(f"box-{number}"))

    async with asyncio.timeout(60):
        await asyncio.gather(*(start(number) for number in range(4)))
    async with open_store(url) as store, store.read() as tx:
        assert len(await tx.devices.matching()) == 4


async def test_a_start_changes_nothing_when_nothing_is_missing(url: str) -> None:
    """Rows and revision stay."""
    async with open_store(url) as store, store.write() as tx:
        await tx.devices.save(device())
    async with open_store(url) as store, store.read() as tx:
        assert await tx.devices.matching() == (device(),)


def test_revisions_are_one_line() -> None:
    """No two heads, no branches: there is one way from empty to here."""
    assert sorted(REVISIONS) == REVISIONS
    assert len(ScriptDirectory.from_config(config()).get_heads()) == 1


async def test_postgres_orders_names_by_their_bytes() -> None:
    """As SQLite does: each name's column says so itself, whatever the locale of the database."""
    query = """SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'
        AND data_type = 'character varying' AND collation_name IS DISTINCT FROM 'C'
        AND table_name != 'alembic_version'"""
    async with fresh_database() as url:
        async with open_store(url):
            pass
        async with connected(url) as connection:
            assert (await connection.execute(sa.text(query))).all() == []
