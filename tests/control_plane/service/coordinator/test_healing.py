"""What the coordinator heals at its start and every hour: who missed a message, and what nobody needs."""

import asyncio
from pathlib import Path

import pytest
from headwater_control.core.runs import RunSpec, RunState
from headwater_control.ports import GRACE_S, Busy, Missing, Ring
from headwater_control.service import runs
from headwater_control.service.coordinator import HEAL_EVERY_S
from headwater_control.service.world import World
from headwater_wire.ids import Digest
from headwater_wire.messages import Blob

from tests.control_plane.service.coordinating import coordinating, obey, show
from tests.fakes.clock import FakeClock, settle
from tests.fakes.memory_blobs import MemoryBlobs
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import MODEL, Box, fake_world, import_digits


async def test_its_start_rings_who_is_behind_and_clears_the_work_folder(world: World, publisher: FakePublisher) -> None:
    """What a crash left behind is healed: devices that missed a message, files that nobody will finish."""
    behind, _ = await Box(world, "behind").register(), await Box(world, "current").register()
    async with world.store.write() as tx:
        await tx.devices.raise_revision([behind.id])
    leftover = world.settings.work_dir / "work-left"
    leftover.mkdir(parents=True)
    (world.settings.work_dir / "upload-left.onnx").write_bytes(b"half of it")
    async with coordinating(world):
        assert publisher.sent == [Ring(behind.id, 1)]
        assert not any(world.settings.work_dir.iterdir())


async def test_what_nobody_needs_is_swept_every_hour(world: World, clock: FakeClock) -> None:
    """Not only at the start: broken uploads and failed deletions must not fill the disk of one that runs for years."""
    assert isinstance(world.blobs, MemoryBlobs)
    orphan = await world.blobs.put(b"an upload that its device gave up")
    async with coordinating(world):
        world.blobs.now_s += HEAL_EVERY_S
        await clock.advance(HEAL_EVERY_S - 60)
        assert await world.blobs.size(orphan.digest)
        await clock.advance(120)
        await settle()
        assert await world.blobs.size(orphan.digest) is None


async def test_a_database_that_names_what_is_not_there_has_nothing_swept(
    world: World, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit in a row's digest must not cost the sound blob: what to do is told, and nothing deleted."""
    assert isinstance(world.blobs, MemoryBlobs)
    sound = await world.blobs.put(b"a version's parameters")
    flipped = Digest(f"{int(sound.digest[0], 16) ^ 1:x}{sound.digest[1:]}")
    async with world.store.write() as tx:
        row = Blob(flipped, sound.size)
        await tx.models.add_version(MODEL, row, parent=None, run=None, round_number=None, at=clock.now())
    async with coordinating(world):
        world.blobs.now_s += HEAL_EVERY_S
        await clock.advance(HEAL_EVERY_S + 60)
        await settle()
    assert await world.blobs.size(sound.digest) == sound.size
    (first, *_) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert f"copy blobs/objects/{flipped[:2]}/{flipped} from a backup" in first.getMessage()


class Merging(MemoryBlobs):
    """Blobs of which a delta was merged, and deleted, between the look at the database and the first sweep."""

    sweeps = 0

    async def sweep(self, live: frozenset[Digest], grace_s: float = GRACE_S) -> int:
        """Miss it once."""
        self.sweeps += 1
        if self.sweeps == 1:
            raise Missing(frozenset({Digest("d" * 64)}))
        return await super().sweep(live, grace_s)


async def test_a_delta_that_is_merged_while_the_database_is_read_is_not_missed(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is missing in one look only was deleted by ourselves: the next one sweeps."""
    blobs = Merging(tmp_path)
    async with coordinating(fake_world(tmp_path, clock=clock, blobs=blobs)):
        assert blobs.sweeps == 2
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


class Hanging(MemoryBlobs):
    """Blobs whose sweep does not end: there are very many, or the disk does not answer."""

    sweeps = 0

    async def sweep(self, live: frozenset[Digest], grace_s: float = GRACE_S) -> int:
        """Wait."""
        self.sweeps += 1
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


async def test_a_sweep_that_hangs_holds_nothing_up(clock: FakeClock, publisher: FakePublisher, tmp_path: Path) -> None:
    """It is ready, rings who is behind and leads runs to their end, for hours; no second sweep begins beside it."""
    blobs = Hanging(tmp_path)
    world = fake_world(tmp_path, clock=clock, publisher=publisher, blobs=blobs)
    await import_digits(world, tmp_path)
    behind = await Box(world, "behind").register()
    async with world.store.write() as tx:
        await tx.devices.raise_revision([behind.id])
    async with coordinating(world) as coordinator:
        assert coordinator.ready
        assert publisher.sent == [Ring(behind.id, 1)]
        publisher.sent.clear()
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
        for _ in range(2):
            await settle()
            await obey(publisher, [behind])
        assert (await show(world, run.id)).run.state is RunState.COMPLETED
        await clock.advance(2 * HEAL_EVERY_S)
        assert coordinator.ready
    assert blobs.sweeps == 1


class BusyOnce(MemoryBlobs):
    """Blobs whose first sweep comes upon a database that is busy."""

    sweeps = 0

    async def sweep(self, live: frozenset[Digest], grace_s: float = GRACE_S) -> int:
        """Fail once."""
        self.sweeps += 1
        if self.sweeps == 1:
            raise Busy("the database is busy")
        return await super().sweep(live, grace_s)


async def test_healing_that_finds_the_database_busy_is_tried_again_soon(clock: FakeClock, tmp_path: Path) -> None:
    """Not only an hour later: a start may well be when the database is busiest."""
    blobs = BusyOnce(tmp_path)
    async with coordinating(fake_world(tmp_path, clock=clock, blobs=blobs)):
        await clock.advance(60)
        assert blobs.sweeps == 2


class NotOurs(MemoryBlobs):
    """Blobs in a folder that somebody has copied there as root."""

    sweeps = 0

    async def sweep(self, live: frozenset[Digest], grace_s: float = GRACE_S) -> int:
        """Fail."""
        self.sweeps += 1
        raise PermissionError(13, "Permission denied", "blobs/objects/ab")


async def test_a_folder_that_can_t_be_tidied_up_ends_nothing(
    clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and tried again in an hour: else the control plane would end at every start."""
    blobs = NotOurs(tmp_path)
    async with coordinating(fake_world(tmp_path, clock=clock, blobs=blobs)) as coordinator:
        await clock.advance(HEAL_EVERY_S)
        assert coordinator.ready
    assert blobs.sweeps == 2
    assert "Permission denied: 'blobs/objects/ab'" in caplog.text
