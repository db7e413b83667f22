"""A start beside a database that is missing, empty or another's: it is refused, before a blob is swept as nobody's."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest
from headwater_control.backup import restore, take
from headwater_control.belonging import opened
from headwater_control.config import BadSetting, Settings
from headwater_control.datadir import DATABASE_ID, claimed
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.edges.store import open_store
from headwater_control.ports import Damaged, Store
from sqlalchemy.engine import make_url

from tests.fakes.clock import FakeClock
from tests.fakes.world import fake_world, import_digits
from tests.support.postgres import fresh_database, postgres

EMPTY = "the database is empty, and .* holds the blobs of one that was not: correct `database`, or restore the last"
OTHER = "the database is not the one that the blobs in .* belong to: correct `database`, or `data_dir`, or restore"


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Name a database that is not there yet, or empty."""
    async with AsyncExitStack() as lives:
        if request.param == "sqlite":
            yield f"sqlite:///{tmp_path / 'headwater.db'}"
        else:
            yield await lives.enter_async_context(fresh_database())


@asynccontextmanager
async def another(url: str, tmp_path: Path) -> AsyncIterator[str]:
    """Name another one of the same kind, likewise."""
    if url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'another.db'}"
    else:
        async with fresh_database() as made:
            yield made


@asynccontextmanager
async def started(url: str, data: Path) -> AsyncIterator[Store]:
    """Start as far as to the database."""
    with claimed(data) as held:
        async with opened(url, held, FakeClock()) as store:
            yield store


async def lived(url: str, data: Path) -> None:
    """Live for a while: import a model."""
    async with started(url, data) as store:
        world = fake_world(data, store=store, blobs=FolderBlobs(data / "blobs"))
        await import_digits(world, data)


async def knows_digits(url: str, data: Path) -> bool:
    """Start, and say whether the model is there, with all its blobs."""
    async with started(url, data) as store, store.read() as tx:
        live = await tx.live_blobs()
        return bool(live) and await FolderBlobs(data / "blobs").damaged(live) == ()


async def test_a_database_that_is_missing_or_empty_is_refused_beside_blobs(url: str, tmp_path: Path) -> None:
    """As often as it is tried: nothing is made there, so that a dump can be restored into it. The right one starts."""
    await lived(url, tmp_path / "data")
    async with another(url, tmp_path) as empty:
        for _ in range(2):
            with pytest.raises(BadSetting, match=EMPTY):
                await knows_digits(empty, tmp_path / "data")
        if empty.startswith("sqlite"):
            assert not (tmp_path / "another.db").exists()
    assert await knows_digits(url, tmp_path / "data")


async def test_another_control_planes_database_is_refused(url: str, tmp_path: Path) -> None:
    """Whether it knows models or not: what it says of itself is another first entry of the audit log."""
    await lived(url, tmp_path / "data")
    async with another(url, tmp_path) as other:
        async with started(other, tmp_path / "other"):
            pass
        with pytest.raises(BadSetting, match=OTHER):
            await knows_digits(other, tmp_path / "data")
        await lived(other, tmp_path / "other")
        with pytest.raises(BadSetting, match=OTHER):
            await knows_digits(other, tmp_path / "data")
    assert await knows_digits(url, tmp_path / "data")


async def test_tables_that_nobody_served_from_are_refused_beside_blobs(url: str, tmp_path: Path) -> None:
    """Somebody made them, and it was not a start of this directory's."""
    await lived(url, tmp_path / "data")
    async with another(url, tmp_path) as fresh:
        async with open_store(fresh):
            pass
        with pytest.raises(BadSetting, match=EMPTY):
            await knows_digits(fresh, tmp_path / "data")


async def test_a_first_start_that_was_killed_in_its_first_import_starts_again(url: str, tmp_path: Path) -> None:
    """A blob without a row lies there, and no model is known: that is no loss of the database."""
    data = tmp_path / "data"
    async with started(url, data):
        await FolderBlobs(data / "blobs").put(b"half of an import")
    async with started(url, data) as store, store.read() as tx:
        assert await tx.models.all() == ()


async def test_a_first_start_that_was_killed_at_any_step_starts_again(url: str, tmp_path: Path) -> None:
    """With tables and no entry, or an entry and no file: the directory has no blobs yet, and takes the database."""
    async with open_store(url):
        pass
    await lived(url, tmp_path / "data")
    (tmp_path / "data" / DATABASE_ID).unlink()
    assert await knows_digits(url, tmp_path / "data")


async def test_a_directory_of_an_older_headwater_takes_its_database(url: str, tmp_path: Path) -> None:
    """And refuses an empty one all the same: blobs are there. From then on it refuses others too."""
    data = tmp_path / "data"
    await lived(url, data)
    (data / DATABASE_ID).unlink()
    async with another(url, tmp_path) as empty:
        with pytest.raises(BadSetting, match=EMPTY):
            await knows_digits(empty, data)
        assert await knows_digits(url, data)
        async with started(empty, tmp_path / "other"):
            pass
        with pytest.raises(BadSetting, match=OTHER):
            await knows_digits(empty, data)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"f" * 63])
async def test_a_damaged_file_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    """Unless the database is empty."""
    url, data = f"sqlite:///{tmp_path / 'headwater.db'}", tmp_path / "data"
    await lived(url, data)
    whole = (data / DATABASE_ID).read_bytes()
    (data / DATABASE_ID).write_bytes(damage)
    with pytest.raises(BadSetting, match=EMPTY):
        await knows_digits(f"sqlite:///{tmp_path / 'another.db'}", data)
    assert await knows_digits(url, data)
    assert (data / DATABASE_ID).read_bytes() == whole


async def test_a_first_entry_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    """A bit flipped within its time is no flaw of the file: the start says the same of it."""
    place, data = tmp_path / "headwater.db", tmp_path / "data"
    await lived(f"sqlite:///{place}", data)
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("UPDATE audit SET at = 'q' || substr(at, 2) WHERE number = 1")
    with pytest.raises(Damaged, match="the audit log's first entry can't be read"):
        await knows_digits(f"sqlite:///{place}", data)


async def test_the_audit_log_begins_with_the_first_start(tmp_path: Path) -> None:
    """Once: by that entry, which nothing changes, the database is known."""
    url, data = f"sqlite:///{tmp_path / 'headwater.db'}", tmp_path / "data"
    for _ in range(2):
        async with started(url, data) as store, store.read() as tx:
            (entry,) = await tx.audit.entries(0, 10)
    assert entry.action == "control.begin"
    assert (data / DATABASE_ID).read_text() == f"{entry.digest}\n"


async def test_a_restored_directory_and_its_database_belong_together(tmp_path: Path) -> None:
    """On SQLite both are in the backup; the database of another is refused there, too."""
    data = tmp_path / "data"
    url = f"sqlite:///{data / 'headwater.db'}"
    await lived(url, data)
    await take(Settings(data_dir=str(data)), tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "new")
    await lived(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other")
    with pytest.raises(BadSetting, match=OTHER):
        await knows_digits(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "new")
    assert await knows_digits(f"sqlite:///{tmp_path / 'new' / 'headwater.db'}", tmp_path / "new")


async def test_a_restored_dump_and_the_directory_of_its_backup_belong_together(tmp_path: Path) -> None:
    """On PostgreSQL the dump has the first entry, the backup the file; before the dump is restored it is refused."""
    data = tmp_path / "data"
    async with fresh_database() as url:
        await lived(url, data)
        await take(Settings(data_dir=str(data), database=url), tmp_path / "backup")
        restore(tmp_path / "backup", tmp_path / "new")
        async with fresh_database() as empty:
            with pytest.raises(BadSetting, match=EMPTY):
                await knows_digits(empty, tmp_path / "new")
        dump = await postgres().database(make_url(url).database or "")
        try:
            assert await knows_digits(dump, tmp_path / "new")
        finally:
            await postgres().drop(dump)
