"""What the database setting may be, and how each database is then opened."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from headwater_control.edges.store import open_store
from headwater_control.edges.store.engines import UnusableUrl, opened, parsed
from headwater_control.ports import Busy

from tests.support.postgres import fresh_database, postgres
from tests.support.rows import device


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////var/lib/headwater/headwater.db", "sqlite+aiosqlite"),
        ("postgresql://hw:secret@db:5432/headwater", "postgresql+asyncpg"),
        ("postgresql+psycopg://db/headwater", "postgresql+asyncpg"),
    ],
)
def test_the_driver_is_ours(url: str, driver: str) -> None:
    """An operator names the database, not a Python package."""
    assert parsed(url).drivername == driver


@pytest.mark.parametrize("url", ["mysql://hw:secret@db/headwater", "secret", "sqlite://", "sqlite:///:memory:", ""])
def test_another_database_is_refused(url: str) -> None:
    """With what to set it to, and without repeating what may be a password."""
    with pytest.raises(UnusableUrl, match="set it to sqlite:") as caught:
        parsed(url)
    assert "secret" not in str(caught.value)


async def test_a_database_out_of_reach_is_busy(tmp_path: Path) -> None:
    """An orchestrator starts things in any order: the server can try again."""
    with pytest.raises(Busy, match="reached"):
        async with open_store(f"postgresql://nobody@/none?host={tmp_path}"):
            raise AssertionError("it was opened")


async def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    """WAL with synchronous FULL and foreign keys, on the connections that read and on the one that writes."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 1500}
    async with opened(parsed(f"sqlite:///{tmp_path / 'x.db'}"), 1.5) as engines:
        for engine, query_only in ((engines.writing, 0), (engines.reading, 1)):
            async with engine.connect() as connection:
                for name, value in (wanted | {"query_only": query_only}).items():
                    assert (await connection.execute(sa.text(f"PRAGMA {name}"))).scalar_one() == value, name


async def test_postgres_reads_see_one_state_and_change_nothing() -> None:
    """The database itself enforces what a view promises, and bounds every wait for a lock."""
    wanted = {"transaction_isolation": "repeatable read", "transaction_read_only": "on", "lock_timeout": "1500ms"}
    async with fresh_database() as url, opened(parsed(url), 1.5) as engines, engines.reading.connect() as connection:
        for name, value in wanted.items():
            assert (await connection.execute(sa.text(f"SHOW {name}"))).scalar_one() == value, name


async def test_postgres_that_falls_silent_in_a_transaction_is_busy() -> None:
    """A process that is stopped, or a link that is frozen, says nothing: it is given up, and not used again."""
    async with fresh_database() as url, open_store(url, answer_s=1) as store, AsyncExitStack() as until:
        with pytest.raises(Busy, match="does not answer"):
            async with store.write() as tx:
                await tx.devices.save(device("lost"))
                await until.enter_async_context(postgres().stopped(url))
                await tx.devices.matching()
        async with store.read() as tx:
            assert await tx.devices.matching() == ()


async def test_postgres_that_fell_silent_before_is_busy_once() -> None:
    """A connection that waited in the pool is looked at first, for no longer; then there is a new one."""
    async with fresh_database() as url, open_store(url, answer_s=1) as store:
        async with store.read() as tx:
            await tx.devices.matching()
        async with postgres().stopped(url):
            with pytest.raises(Busy, match="does not answer"):
                async with store.read():
                    raise AssertionError("it was opened")
            async with store.read() as tx:
                assert await tx.devices.matching() == ()


async def test_postgres_that_is_silent_lets_the_store_be_closed() -> None:
    """A stop waits no longer than for a connection, however many are open."""
    async with (
        fresh_database() as url,
        AsyncExitStack() as until,
        asyncio.timeout(20),
        open_store(url, wait_s=1) as store,
    ):
        async with store.read() as tx:
            await tx.devices.matching()
        await until.enter_async_context(postgres().stopped(url))


async def test_rows_outlive_the_store(url: str) -> None:
    """What was committed is there after it was closed and opened again; what was not is not."""
    async with open_store(url) as store:
        async with store.write() as tx:
            await tx.devices.save(device("kept"))
        with pytest.raises(OSError, match="full"):
            async with store.write() as tx:
                await tx.devices.save(device("lost"))
                raise OSError("the disk is full")
    async with open_store(url) as store, store.read() as tx:
        assert [found.id for found in await tx.devices.matching()] == ["kept"]
