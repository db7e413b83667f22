"""The coordinator in virtual time: it drives runs by bells and deadlines, alone or beside others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from headwater_control.core.rollout import RolloutState
from headwater_control.core.runs import RoundState, RunSpec, RunState
from headwater_control.ports import Assign, MergeJob, OffloadFailed, Unusable
from headwater_control.service import devices, rollouts, runs
from headwater_control.service.coordinator import Coordinator
from headwater_control.service.world import World
from headwater_wire.ids import ModelName, RolloutId, VersionId
from headwater_wire.messages import DeploymentReport

from tests.control_plane.service.coordinating import coordinating, obey, show
from tests.fakes.clock import FakeClock, settle
from tests.fakes.memory_store import MemoryStore, MemoryTransaction
from tests.fakes.offload import FakeOffload
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import MODEL, Box, fake_world, import_digits


async def test_a_run_completes_without_a_moment_of_waiting(
    world: World, clock: FakeClock, publisher: FakePublisher
) -> None:
    """Bells and messages alone carry it through: virtual time never advances."""
    boxes = [await Box(world, f"box-{number}").register() for number in range(3)]
    began_at = clock.now()
    async with coordinating(world):
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=5))
        for _ in range(6):
            await settle()
            await obey(publisher, boxes)
        view = await show(world, run.id)
    assert (view.run.state, clock.now()) == (RunState.COMPLETED, began_at)
    assert len(view.rounds) == 6


async def test_the_deadline_wakes_it(world: World, clock: FakeClock) -> None:
    """Nobody rings when a device stays away: the round still ends when it should."""
    await Box(world, "box-0").register()
    request = RunSpec(MODEL, "digits", rounds=9, round_deadline_s=30)
    async with coordinating(world):
        run = await runs.start(world, request)
        await clock.advance(29)
        assert (await show(world, run.id)).rounds[0].round.state is RoundState.COLLECTING
        await clock.advance(1)
        assert (await show(world, run.id)).rounds[0].round.state is RoundState.ABANDONED
        await clock.advance(60)
        assert (await show(world, run.id)).run.state is RunState.FAILED


async def test_a_device_that_comes_back_starts_a_waiting_round(world: World, publisher: FakePublisher) -> None:
    """The fleet's changes ring too."""
    box = await Box(world, "box-0").register()
    await devices.presence(world, box.id, False, 1, 2)
    async with coordinating(world):
        run = await runs.start(world, RunSpec(MODEL, "digits"))
        assert (await show(world, run.id)).run.reason == "waits for 1 able device; of 1 in the cohort 1 is offline"
        await devices.presence(world, box.id, True, 2, 1)
        assert (await show(world, run.id)).rounds[0].round.state is RoundState.COLLECTING
        assert [type(message) for message in publisher.to(box.id)] == [Assign]


async def test_two_coordinators_lead_a_run_once(world: World, clock: FakeClock, publisher: FakePublisher) -> None:
    """The lease lets one of them act: each round is asked and merged once."""
    boxes = [await Box(world, f"box-{number}").register() for number in range(2)]
    async with coordinating(world, "a"), coordinating(world, "b"):
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=3))
        for _ in range(4):
            await clock.advance(20)
            await obey(publisher, boxes)
        assert (await show(world, run.id)).run.state is RunState.COMPLETED
    assert isinstance(world.offload, FakeOffload)
    assert len(world.offload.merges) == 3


async def test_a_successor_goes_on_at_once_after_a_clean_stop(world: World, publisher: FakePublisher) -> None:
    """A coordinator that is stopped gives its leases back; the round it left goes on."""
    box = await Box(world, "box-0").register()
    async with coordinating(world, "a"):
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
        await settle()
    await obey(publisher, [box])
    async with coordinating(world, "b"):
        assert (await show(world, run.id)).rounds[0].round.state is RoundState.COMMITTED


async def test_a_successor_waits_for_the_lease_of_a_dead_one(
    world: World, clock: FakeClock, publisher: FakePublisher
) -> None:
    """After a crash nobody gave the lease back: it is taken over when it is over."""
    box = await Box(world, "box-0").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    async with world.store.write() as tx:
        await tx.runs.lead(run.id, "dead", clock.now(), world.settings.lease_ttl_s)
    async with coordinating(world, "b"):
        await clock.advance(world.settings.lease_ttl_s - 1)
        assert publisher.to(box.id) == []
        await clock.advance(2)
        assert len(publisher.to(box.id)) == 1


class SlowOffload(FakeOffload):
    """Merges for a minute."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def merge(self, job: MergeJob) -> None:
        """Take time."""
        await self._clock.sleep(60)
        await super().merge(job)


async def test_a_long_merge_keeps_its_lease(world: World, clock: FakeClock, publisher: FakePublisher) -> None:
    """The lease is renewed while a merge takes longer than it lasts, so nobody merges beside it."""
    world = replace(world, offload=SlowOffload(clock))
    box = await Box(world, "box-0").register()
    async with coordinating(world, "a"), coordinating(world, "b"):
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
        await settle()
        await obey(publisher, [box])
        await clock.advance(59)
        assert (await show(world, run.id)).rounds[0].round.state is RoundState.MERGING
        await clock.advance(2)
        assert (await show(world, run.id)).rounds[0].round.state is RoundState.COMMITTED
    assert isinstance(world.offload, SlowOffload)
    assert len(world.offload.merges) == 1


class FailingOffload(FakeOffload):
    """Fails so many times."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self._errors = list(errors)

    async def merge(self, job: MergeJob) -> None:
        """Fail, or merge."""
        if self._errors:
            raise self._errors.pop(0)
        await super().merge(job)


class DeniedOffload(FailingOffload):
    """An offload that fails while the database begins to refuse too."""

    def __init__(self, store: "DeniedStore") -> None:
        super().__init__(OffloadFailed("no memory"))
        self._store = store

    async def merge(self, job: MergeJob) -> None:
        """Fail once, and have the next transaction refused."""
        self._store.refuses = bool(self._errors)
        await super().merge(job)


class DeniedStore(MemoryStore):
    """A database whose administrator has just taken a right away, for one transaction."""

    refuses = False

    @asynccontextmanager
    async def write(self) -> AsyncIterator[MemoryTransaction]:
        """Refuse, or write."""
        if self.refuses:
            self.refuses = False
            raise RuntimeError("permission denied for table run")
        async with super().write() as tx:
            yield tx


async def test_trouble_that_can_t_be_noted_ends_nothing(
    clock: FakeClock, publisher: FakePublisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are told in the log, and the round is merged in the end."""
    store = DeniedStore()
    world = replace(fake_world(tmp_path, clock=clock, publisher=publisher, store=store), offload=DeniedOffload(store))
    await import_digits(world, tmp_path)
    box = await Box(world, "box-0").register()
    async with coordinating(world):
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
        await settle()
        await obey(publisher, [box])
        await clock.advance(10)
        assert (await show(world, run.id)).rounds[0].round.state is RoundState.COMMITTED
    assert "permission denied for table run" in caplog.text


async def test_a_merge_that_finds_no_memory_is_tried_again(
    world: World, clock: FakeClock, publisher: FakePublisher
) -> None:
    """Meanwhile the run says what keeps it; no delta is lost."""
    world = replace(world, offload=FailingOffload(OffloadFailed("no memory"), OffloadFailed("no memory")))
    box = await Box(world, "box-0").register()
    async with coordinating(world):
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
        await settle()
        await obey(publisher, [box])
        view = await show(world, run.id)
        assert view.rounds[0].round.state is RoundState.MERGING
        assert view.run.reason.startswith("OffloadFailed('no memory'); it is tried again")
        await clock.advance(10)
        view = await show(world, run.id)
        assert (view.rounds[0].round.state, view.run.reason) == (RoundState.COMMITTED, "")


async def test_deltas_that_cannot_be_merged_abandon_the_round(world: World, publisher: FakePublisher) -> None:
    """Trying again would not help: the reason stands on the round."""
    world = replace(world, offload=FailingOffload(Unusable("delta 1 is of another model")))
    box = await Box(world, "box-0").register()
    async with coordinating(world):
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=2))
        await settle()
        await obey(publisher, [box])
        view = await show(world, run.id)
    assert view.rounds[0].round.reason == "the deltas can't be merged: delta 1 is of another model"
    assert view.rounds[1].round.state is RoundState.COLLECTING


async def test_it_settles_rollouts(world: World) -> None:
    """When the last box has reported, the rollout is COMPLETED."""
    box = await Box(world, "box-0").register()
    async with coordinating(world):
        rollout = await rollouts.start(world, VersionId("digits-1"))
        await box.sync(deployments=(DeploymentReport(RolloutId("any"), ModelName("digits"), 1, True),))
        await settle()
    async with world.store.read() as tx:
        (stored,) = await tx.rollouts.all()
    assert (stored.id, stored.state) == (rollout.id, RolloutState.COMPLETED)


async def test_ready_means_that_the_loop_advances(world: World, clock: FakeClock) -> None:
    """Not before it began, as long as it goes on, and not for long after it stopped."""
    async with coordinating(world) as coordinator:
        await clock.advance(100)
        assert coordinator.ready
    assert not Coordinator(world, "b").ready
    await clock.advance(world.settings.lease_ttl_s)
    assert not coordinator.ready


class StuckOffload(FakeOffload):
    """Merges until told how that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def merge(self, job: MergeJob) -> None:
        """Wait."""
        await self.end


@pytest.mark.parametrize("turns", range(8))
async def test_a_stop_is_not_lost_in_a_failure(world: World, publisher: FakePublisher, turns: int) -> None:
    """Cancelled in the very moment in which a merge fails, it ends, and tries nothing again."""
    offload = StuckOffload()
    world = replace(world, offload=offload)
    box = await Box(world, "box-0").register()
    task = asyncio.create_task(Coordinator(world, "a").run(), name="test.coordinator")
    await settle()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await settle()
    await obey(publisher, [box])
    assert (await show(world, run.id)).rounds[0].round.state is RoundState.MERGING
    task.cancel()
    for _ in range(turns):  # of the loop: until the cancellation has come down to the merge
        await asyncio.sleep(0)
    if not offload.end.done():
        offload.end.set_exception(OffloadFailed("no memory"))
    await settle()
    assert task.cancelled(), task
