"""A backup of a data directory, and what is made of it."""

import asyncio
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.runtime.migration import MigrationContext
from headwater_control.backup import BadBackup, restore, take
from headwater_control.backup.restore import era_of, noted
from headwater_control.config import BadSetting, Settings
from headwater_control.core.runs import RunSpec
from headwater_control.datadir import claimed
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.edges.store import open_store
from headwater_control.edges.store.engines import parsed
from headwater_control.edges.store.migrate import migrate
from headwater_control.service import runs
from headwater_control.service.workspace import clear
from headwater_control.service.world import World
from headwater_wire import durable, eras
from headwater_wire.ids import RunId
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.control_plane.service.driver import step
from tests.fakes.world import MODEL, Box, fake_world, import_digits
from tests.support.postgres import fresh_database


@dataclass(frozen=True)
class Running:
    """A control plane in this process, in the middle of a round: one of two deltas has come."""

    data: Path
    world: World
    run: RunId

    @property
    def settings(self) -> Settings:
        """What `headwater backup` is told."""
        return Settings(data_dir=str(self.data))

    async def live(self) -> set[str]:
        """Name the blobs that the database needs."""
        async with self.world.store.read() as tx:
            return {str(digest) for digest in await tx.live_blobs()}


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[Running]:
    """Serve from a folder."""
    durable.make_dirs(data, private=True)
    async with open_store(f"sqlite:///{data / 'headwater.db'}") as store:
        world = fake_world(data, store=store, blobs=FolderBlobs(data / "blobs"))
        (data / "holder").write_text("control-1")
        await import_digits(world, data)
        boxes = [await Box(world, name).register() for name in ("box-1", "box-2")]
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1000, clients_per_round=2))
        await step(world, run.id)
        await boxes[0].work()
        yield Running(data, world, run.id)


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Running]:
    """One that runs while it is backed up."""
    async with running(tmp_path / "data") as made:
        yield made


def files(folder: Path) -> dict[str, bytes]:
    """Read a tree."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_restored_directory_has_what_the_database_needs_and_who_it_is(control: Running, tmp_path: Path) -> None:
    """Every live blob, the authority, the keys and who led, to the byte; the database opens and says the same."""
    made = await take(control.settings, tmp_path / "backup")
    assert restore(tmp_path / "backup", tmp_path / "new") == made
    there = files(tmp_path / "new")
    assert {Path(path).name for path in there if path.startswith("blobs/")} == await control.live()
    kept = {path: data for path, data in files(control.data).items() if path.split("/")[0] in ("ca", "keys", "holder")}
    assert {path: there[path] for path in kept} == kept and len(kept) > 3
    async with (
        open_store(f"sqlite:///{tmp_path / 'new' / 'headwater.db'}") as store,
        store.read() as tx,
        control.world.store.read() as before,
    ):
        for run in await before.runs.all():
            assert await tx.runs.get(run.id) == run
            assert await tx.tasks.of_round(run.id, 1) == await before.tasks.of_round(run.id, 1)
    with noted(tmp_path / "new") as note:
        assert note is not None and note.made_at == made.made_at
    with noted(tmp_path / "new") as again:
        assert again is None


async def test_nobody_else_can_read_a_backup_or_what_is_made_of_it(control: Running, tmp_path: Path) -> None:
    """It holds the keys of the whole fleet: folders are 0700, files 0600."""
    await take(control.settings, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "new")
    for folder in (tmp_path / "backup", tmp_path / "new"):
        for place in (folder, *folder.rglob("*")):
            assert place.stat().st_mode & 0o777 == (0o700 if place.is_dir() else 0o600), place


async def test_deltas_that_are_merged_meanwhile_are_in_the_backup_whole(control: Running, tmp_path: Path) -> None:
    """Rounds go on, and delete what is merged, while it is taken: it lacks nothing that its own database names."""
    boxes = [Box(control.world, name) for name in ("box-1", "box-2")]
    taking = asyncio.create_task(take(control.settings, tmp_path / "backup"))
    rounds = 0
    while not taking.done():
        for box in boxes:
            await box.work()
        rounds += len(await step(control.world, control.run)) > 1
    made = await taking
    assert rounds
    assert made.lacking == ()
    async with open_store(f"sqlite:///{tmp_path / 'backup' / 'headwater.db'}") as store, store.read() as tx:
        assert {Path(entry.path).name for entry in made.files} >= {str(digest) for digest in await tx.live_blobs()}


async def test_a_delta_that_goes_between_the_database_and_the_blobs_has_the_copy_made_anew(
    control: Running, tmp_path: Path
) -> None:
    """The database that is kept is one whose blobs were all there."""
    async with control.world.store.read() as tx:
        (task,) = [task for task in await tx.tasks.of_round(control.run, 1) if task.delta is not None]
    assert task.delta is not None
    await control.world.blobs.delete(task.delta.digest)

    async def forget() -> None:
        while not (tmp_path / "backup" / "headwater.db").exists():  # noqa: ASYNC110 (a file, not an event)
            await asyncio.sleep(0)
        async with control.world.store.write() as tx:
            await tx.tasks.drop(task.id, at=control.world.clock.now(), reason="merged")

    made, _ = await asyncio.gather(take(control.settings, tmp_path / "backup"), forget())
    assert made.lacking == ()


async def test_a_missing_and_a_damaged_blob_are_named(control: Running, tmp_path: Path) -> None:
    """The rest is backed up all the same; the restored one's audit log will tell what it lacks."""
    first, second, *_ = sorted(await control.live())
    (control.data / "blobs" / "objects" / first[:2] / first).unlink()
    (control.data / "blobs" / "objects" / second[:2] / second).write_bytes(b"rotten")
    made = await take(control.settings, tmp_path / "backup")
    assert made.lacking == (first, second)
    restore(tmp_path / "backup", tmp_path / "new")
    with noted(tmp_path / "new") as note:
        assert note is not None and note.lacking == (first, second)


@pytest.mark.parametrize("at", ["the first blob", "the last blob"])
async def test_a_control_plane_that_starts_while_blobs_are_copied_spoils_the_backup(
    control: Running, tmp_path: Path, at: str
) -> None:
    """It empties its work folder, the pins too: what was deleted meanwhile may be missing, so the backup is none."""

    def start(done: int, total: int) -> None:
        if at == "the first blob" or done == total:
            clear(control.data / "work")

    with pytest.raises(BadBackup, match=r"was emptied while the backup was taken.*take it again"):
        await take(control.settings, tmp_path / "backup", on_bytes=start)
    assert not (tmp_path / "backup").exists()


async def test_a_control_plane_that_starts_while_the_database_is_copied_spoils_the_backup(
    control: Running, tmp_path: Path
) -> None:
    """Every blob would count as missing, and the backup as complete."""

    async def start() -> None:
        while not (tmp_path / "backup" / "headwater.db").exists():  # noqa: ASYNC110 (a file, not an event)
            await asyncio.sleep(0)
        clear(control.data / "work")

    with pytest.raises(BadBackup, match="was emptied while the backup was taken"):
        await asyncio.gather(take(control.settings, tmp_path / "backup"), start())
    assert not (tmp_path / "backup").exists()


def test_what_a_killed_backup_pinned_goes_with_the_next_one(tmp_path: Path) -> None:
    """Else deleted blobs would take up their room until the control plane's next start."""

    async def one(name: str, on_bytes: Callable[[int, int], None]) -> None:
        await take(Settings(data_dir=str(tmp_path / "data")), tmp_path / name, on_bytes=on_bytes)

    async def make() -> None:
        async with running(tmp_path / "data"):
            pass

    asyncio.run(make())
    child = os.fork()
    if child == 0:
        asyncio.run(one("killed", lambda _done, _total: os._exit(9)))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [place.name[:7] for place in (tmp_path / "data" / "work").iterdir()] == ["backup-"]
    asyncio.run(one("backup", lambda _done, _total: None))
    assert not list((tmp_path / "data" / "work").iterdir())


async def test_two_backups_at_once_leave_each_other_their_pins(control: Running, tmp_path: Path) -> None:
    """Both are whole."""
    names = ("one", "other")
    made = await asyncio.gather(*(take(control.settings, tmp_path / name) for name in names))
    assert [each.lacking for each in made] == [(), ()]


async def test_nothing_is_overwritten(control: Running, tmp_path: Path) -> None:
    """Neither by a backup nor by a restore, nor does either leave half of one behind."""
    await take(control.settings, tmp_path / "backup")
    before = files(tmp_path)
    with pytest.raises(BadBackup, match="is there already"):
        await take(control.settings, tmp_path / "backup")
    with pytest.raises(BadBackup, match="is inside of"):
        await take(control.settings, control.data / "backup")
    (tmp_path / "link").symlink_to(control.data)
    (tmp_path / "elsewhere").mkdir()
    for inside in (tmp_path / "elsewhere" / ".." / control.data.name / "backup", tmp_path / "link" / "keys" / "backup"):
        with pytest.raises(BadBackup, match="is inside of"):
            await take(control.settings, inside)
    (tmp_path / "link").unlink()
    (tmp_path / "elsewhere").rmdir()
    with pytest.raises(BadBackup, match="is no control plane's data directory"):
        await take(Settings(data_dir=str(tmp_path)), tmp_path / "other")
    with pytest.raises(BadBackup, match="is not empty"):
        restore(tmp_path / "backup", control.data)
    assert files(tmp_path) == before


@pytest.mark.parametrize("harm", ["flipped", "gone", "cut short", "no manifest", "a way out"])
async def test_a_backup_that_is_not_whole_is_refused(control: Running, tmp_path: Path, harm: str) -> None:
    """Every file is checked before the first is restored, and nothing is left behind."""
    made = await take(control.settings, tmp_path / "backup")
    victim = tmp_path / "backup" / made.files[-1].path
    manifest = tmp_path / "backup" / "manifest.json"
    match harm:
        case "flipped":
            data = bytearray(victim.read_bytes())
            data[len(data) // 2] ^= 1
            victim.write_bytes(data)
        case "gone":
            victim.unlink()
        case "cut short":
            victim.write_bytes(victim.read_bytes()[:-1])
        case "no manifest":
            manifest.unlink()
        case _:
            manifest.write_text(manifest.read_text().replace(made.files[-1].path, "../elsewhere"))
    with pytest.raises(BadBackup):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists() and not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("at", ["first file", "era", "note"])
def test_a_restore_that_is_killed_is_not_taken_for_whole(tmp_path: Path, at: str) -> None:
    """Whatever is there by then: no control plane starts on it, which would make what is missing anew."""

    async def make() -> None:
        async with running(tmp_path / "data") as control:
            await take(control.settings, tmp_path / "backup")

    asyncio.run(make())
    place = tmp_path / "new" / {"first file": "holder", "era": "era", "note": "restored.json"}[at]
    child = os.fork()
    if child == 0:
        sys.addaudithook(lambda event, given: _die_at(place) if event in ("open", "os.rename") else None)
        restore(tmp_path / "backup", tmp_path / "new")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with pytest.raises(BadSetting, match="was cut short"), claimed(tmp_path / "new"):
        pass
    shutil.rmtree(tmp_path / "new")
    restore(tmp_path / "backup", tmp_path / "new")
    with claimed(tmp_path / "new"):
        pass


def _die_at(place: Path) -> None:
    """End the process as a kill would, once a file is there."""
    if os.path.lexists(place):
        os._exit(9)


async def test_a_damaged_database_is_not_backed_up(tmp_path: Path) -> None:
    """Else the last good backup would be replaced by a bad one."""
    async with running(tmp_path / "data") as control:
        settings = control.settings
    database = tmp_path / "data" / "headwater.db"
    with sqlite3.connect(database) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'task'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    data = bytearray(database.read_bytes())
    data[(page - 1) * size : page * size] = b"\xff" * size
    database.write_bytes(data)
    with pytest.raises(BadBackup, match=r"damaged|malformed"):
        await take(settings, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


async def test_a_database_elsewhere_is_left_to_its_own_tools(control: Running, tmp_path: Path) -> None:
    """SQLite's file may be anywhere; its copy is where a restored control plane looks."""
    moved = tmp_path / "elsewhere.db"
    settings = replace(control.settings, database=f"sqlite:///{moved}")
    with sqlite3.connect(control.data / "headwater.db") as source, sqlite3.connect(moved) as target:
        source.backup(target)
    source.close()
    target.close()
    made = await take(settings, tmp_path / "backup")
    assert "headwater.db" in {entry.path for entry in made.files}


async def test_beside_postgresql_everything_else_is_backed_up(tmp_path: Path) -> None:
    """What its database names, and who it is; the dump is pg_dump's."""
    async with fresh_database() as url, open_store(url) as store:
        durable.make_dirs(tmp_path / "data", private=True)
        world = fake_world(tmp_path / "data", store=store, blobs=FolderBlobs(tmp_path / "data" / "blobs"))
        await import_digits(world, tmp_path / "data")
        async with store.read() as tx:
            live = await tx.live_blobs()
        made = await take(Settings(data_dir=str(tmp_path / "data"), database=url), tmp_path / "backup")
    assert (made.database, made.lacking) == ("postgresql", ())
    assert {Path(entry.path).name for entry in made.files} > live
    assert not (tmp_path / "backup" / "headwater.db").exists()


async def test_a_database_of_another_release_on_postgresql_is_not_touched(tmp_path: Path) -> None:
    """The control plane that serves from it would not start again if its tables were changed."""
    (tmp_path / "data" / "keys").mkdir(parents=True)
    settings = Settings(data_dir=str(tmp_path / "data"))
    async with fresh_database() as url:
        for revision, words in ((None, "has no tables of Headwater's"), ("0009", "is at revision '0009'")):
            if revision is not None:
                await migrate(parsed(url), revision)
            with pytest.raises(BadBackup, match=f"{words}.*: take it with the Headwater that serves"):
                await take(replace(settings, database=url), tmp_path / "backup")
            assert not (tmp_path / "backup").exists()
            assert await revision_of(url) == revision


async def test_a_backup_can_be_opened_by_the_release_that_took_it(tmp_path: Path) -> None:
    """The copy of SQLite's file is brought to its tables; the file itself stays what the older one can open."""
    (tmp_path / "data" / "keys").mkdir(parents=True)
    live, copy = (f"sqlite:///{tmp_path / name / 'headwater.db'}" for name in ("data", "backup"))
    await migrate(parsed(live), "0009")
    await take(Settings(data_dir=str(tmp_path / "data")), tmp_path / "backup")
    assert await revision_of(live) == "0009"
    async with open_store(copy, migrates=False) as store, store.read() as tx:
        assert await tx.devices.matching() == ()


async def revision_of(url: str) -> str | None:
    """Tell which revision a database is at; None: it has no tables."""
    engine = create_async_engine(parsed(url), poolclass=NullPool)
    async with engine.connect() as connection:
        return await connection.run_sync(lambda made: MigrationContext.configure(made).get_current_revision())


async def test_a_database_that_cannot_be_opened_is_a_sentence(control: Running, tmp_path: Path) -> None:
    """Whatever the driver raises for it, without the URL, which has the password."""
    async with fresh_database() as url:
        elsewhere = make_url(url).set(database="none", username="postgres", password="secret")
    for database in (
        elsewhere.render_as_string(hide_password=False),  # which the server refuses
        "postgresql://hw:secret@127.0.0.1:1/headwater",
        f"postgresql://hw:secret@/headwater?host={tmp_path}",
    ):
        with pytest.raises(BadBackup, match=r"can't be opened: .*is it running\?") as caught:
            await take(replace(control.settings, database=database), tmp_path / "backup")
        assert "secret" not in str(caught.value)
        assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"a third", b"-1", b"9" * 5000])
def test_an_era_that_cannot_be_read_is_later_than_any(tmp_path: Path, damage: bytes) -> None:
    """What a device was told in an earlier one is then less than what it is told now."""
    assert era_of(tmp_path) == 0
    known = eras.restored(0, datetime.now(UTC))
    (tmp_path / "era").write_text(f"{known}\n")
    assert era_of(tmp_path) == known
    (tmp_path / "era").write_bytes(damage)
    assert known <= era_of(tmp_path) < 2**32
