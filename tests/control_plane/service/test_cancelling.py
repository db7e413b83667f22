"""A run that is cancelled, at whatever moment."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from headwater_control.core.runs import RoundState, RunSpec, RunState, TaskState
from headwater_control.ports import MergeJob, OffloadFailed, Withdraw
from headwater_control.service import runs
from headwater_control.service.world import World
from headwater_wire.ids import Digest
from headwater_wire.messages import ReceiptKind

from tests.control_plane.service.driver import step
from tests.fakes.offload import FakeOffload
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import MODEL, Box


async def test_a_run_that_is_cancelled_while_it_merges_is_no_failure(world: World) -> None:
    """Its deltas go with it: that the merge then finds none is nobody's trouble."""

    class Cancelled(FakeOffload):
        async def merge(self, job: MergeJob) -> None:
            await runs.cancel(world, run.id)
            raise OffloadFailed("a delta is not there")

    box = await Box(world, "box-1").register()
    world = replace(world, offload=Cancelled())
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    await box.work()
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert (view.run.state, view.rounds[0].round.state) == (RunState.CANCELLED, RoundState.ABANDONED)


async def test_a_run_that_is_cancelled_before_its_merge_begins_is_no_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deltas were looked at, found sound, and are gone when they are to be merged."""
    look = world.blobs.damaged

    async def cancelled_meanwhile(wanted: Iterable[Digest]) -> tuple[Digest, ...]:
        found = await look(wanted)
        await runs.cancel(world, run.id)
        return found

    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    await box.work()
    monkeypatch.setattr(world.blobs, "damaged", cancelled_meanwhile)
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert (view.run.state, view.rounds[0].round.state) == (RunState.CANCELLED, RoundState.ABANDONED)


async def test_cancelling_ends_open_tasks_and_tells_their_devices(world: World) -> None:
    """Cancelled once or twice, the run is CANCELLED and its devices hold nothing."""
    boxes = [await Box(world, name).register() for name in ("box-1", "box-2")]
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=2))
    await step(world, run.id)
    held = (await boxes[0].sync()).tasks[0]
    for _ in range(2):
        await runs.cancel(world, run.id)
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert view.run.state is RunState.CANCELLED
    assert {task.state for task in view.rounds[0].tasks} == {TaskState.CANCELLED}
    assert isinstance(world.publisher, FakePublisher)
    assert isinstance(world.publisher.to(boxes[1].id)[-1], Withdraw)
    assert (await boxes[0].upload(held)).kind is ReceiptKind.CANCELLED
    assert (await boxes[0].sync()).tasks == ()
