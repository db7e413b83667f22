"""A run from its start to its end, and each way it can go otherwise."""

import pytest
from headwater_control.core.rounds import Ask, AskMore, Close, Decision, Merge
from headwater_control.core.runs import RoundState, RunSpec, RunState, TaskState
from headwater_control.ports import Assign, Withdraw
from headwater_control.service import devices, runs
from headwater_control.service.rounds import Lead, apply
from headwater_control.service.world import World
from headwater_wire.ids import VersionId
from headwater_wire.messages import Failed, ReceiptKind, Rejected, TaskReport

from tests.control_plane.service.driver import step
from tests.fakes.clock import FakeClock
from tests.fakes.memory_blobs import MemoryBlobs
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import MODEL, Box, flip, read_blob


async def fleet(world: World, count: int) -> list[Box]:
    """Register boxes."""
    return [await Box(world, f"box-{number}").register() for number in range(1, count + 1)]


async def content(world: World, version: VersionId) -> list[str]:
    """Read what was merged into a version: the transcript of the fake offload."""
    async with world.store.read() as tx:
        found = await tx.models.version(version)
    assert found is not None
    return (await read_blob(world, found.parameters)).decode().splitlines()


def clock_of(world: World) -> FakeClock:
    """Give the virtual clock."""
    assert isinstance(world.clock, FakeClock)
    return world.clock


def publisher_of(world: World) -> FakePublisher:
    """Give the publisher that remembers."""
    assert isinstance(world.publisher, FakePublisher)
    return world.publisher


async def test_a_run_merges_every_round_and_scores_the_last_version(world: World) -> None:
    """After two rounds and an evaluation the run is COMPLETED, and each delta is in its version once."""
    boxes = await fleet(world, 3)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=2))
    for _ in range(3):
        await step(world, run.id)
        for box in boxes:
            await box.work()
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert view.run.state is RunState.COMPLETED
    assert [entry.round.state for entry in view.rounds] == [RoundState.COMMITTED] * 3
    assert [entry.round.evaluate for entry in view.rounds] == [False, False, True]
    lines = await content(world, view.run.version)
    assert sorted(lines) == sorted(["imported", *(f"10 box-{box} {number}" for number in (1, 2) for box in (1, 2, 3))])
    metrics = view.rounds[0].metrics
    assert (metrics.reported, metrics.examples, metrics.holdout_accuracy) == (3, 30, 0.75)


@pytest.mark.parametrize("part", ["base", "bundle"])
async def test_a_round_asks_nobody_to_fetch_what_is_damaged(world: World, part: str) -> None:
    """Each of them would fetch it over and over: the run has failed, at once, and says which disk to look after."""
    await fleet(world, 3)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=9))
    async with world.store.read() as tx:
        version, bundle = await tx.models.version(run.version), await tx.bundles.get(MODEL, "sgd")
    assert version is not None and bundle is not None
    flip(world, version.parameters if part == "base" else bundle.files[-1])
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    what = "version digits-1" if part == "base" else "the bundle of model digits"
    reason = f"the control plane's disk has damaged or lost {what}: look after that disk"
    assert (view.run.state, view.run.reason) == (RunState.FAILED, reason)
    assert view.run.ended_at == world.clock.now()
    (entry,) = view.rounds
    assert (entry.round.state, entry.round.reason, entry.tasks) == (RoundState.ABANDONED, reason, ())
    assert not [sent for sent in publisher_of(world).sent if isinstance(sent, Assign)]


async def test_a_version_that_is_damaged_between_two_rounds_is_met_by_the_second(world: World) -> None:
    """It is looked at for each round: what was sound when it was merged need not be so later."""
    boxes = await fleet(world, 2)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=9))
    await step(world, run.id)
    for box in boxes:
        await box.work()
    for box in boxes:  # nobody is there to be asked for the next round
        await devices.presence(world, box.id, False, 1, 2)
    await step(world, run.id)
    async with world.store.read() as tx:
        version = await tx.models.version(VersionId("digits-2"))
    assert version is not None
    flip(world, version.parameters)
    for box in boxes:
        await devices.presence(world, box.id, True, 2, 1)
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert (view.run.state, view.run.version) == (RunState.FAILED, "digits-2")
    assert "damaged or lost version digits-2" in view.run.reason


async def test_deltas_are_folded_in_the_order_of_selection(world: World) -> None:
    """Whoever reports first, the merge takes the deltas as their devices were drawn."""
    boxes = {box.id: box for box in await fleet(world, 4)}
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    tasks = (await runs.show_run(world, run.id)).rounds[0].tasks
    for task in reversed(tasks):
        await boxes[task.device].work()
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert await content(world, view.run.version) == ["imported", *(f"10 {task.device} 1" for task in tasks)]
    assert view.rounds[0].round.frozen == tuple(task.id for task in tasks)


async def test_the_deltas_of_a_committed_round_are_deleted(world: World) -> None:
    """Once its version is committed, nobody needs a round's deltas."""
    assert isinstance(world.blobs, MemoryBlobs)
    boxes = await fleet(world, 2)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    for box in boxes:
        await box.work()
    assert sum(data.startswith(b"box-") for data in world.blobs.objects.values()) == 2
    await step(world, run.id)
    assert not any(data.startswith(b"box-") for data in world.blobs.objects.values())


async def test_a_delta_with_the_bytes_of_one_being_deleted_survives(world: World) -> None:
    """Deleting a merged round's deltas spares those whose bytes an open round has delivered too."""
    boxes = await fleet(world, 2)
    first = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    second = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    for run in (first, second):
        await step(world, run.id)
    for box in boxes:
        for task in (await box.sync()).tasks:
            await box.upload(task, b"same")
    await step(world, first.id)
    await step(world, second.id)
    for run in (first, second):
        version = (await runs.show_run(world, run.id)).run.version
        assert await content(world, version) == ["imported", "10 same", "10 same"]


async def test_a_delta_that_the_disk_has_lost_is_named_and_costs_a_round(world: World) -> None:
    """The round is abandoned with a sentence that names the box, and the run goes on with the next one."""
    boxes = await fleet(world, 2)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=2))
    await step(world, run.id)
    for box in boxes:
        for task in (await box.sync()).tasks:
            receipt = await box.upload(task, box.id.encode())
            assert receipt.kind is ReceiptKind.COMMITTED
    assert isinstance(world.blobs, MemoryBlobs)
    lost = next(digest for digest, data in world.blobs.objects.items() if data == b"box-2")
    del world.blobs.objects[lost]
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert [entry.round.state for entry in view.rounds][:1] == [RoundState.ABANDONED]
    assert "lost the delta of box-2: look after that disk" in view.rounds[0].round.reason
    assert view.run.state is RunState.RUNNING


async def test_collecting_ends_when_the_target_is_reached(world: World) -> None:
    """With two of three reported and a target of two, the round closes and the third is told."""
    boxes = {box.id: box for box in await fleet(world, 3)}
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1, clients_per_round=2))
    await step(world, run.id)
    tasks = (await runs.show_run(world, run.id)).rounds[0].tasks
    assert len(tasks) == 3  # ceil(1.3 × 2)
    late = (await boxes[tasks[0].device].sync()).tasks[0]
    for task in tasks[1:]:
        await boxes[task.device].work()
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert [task.state for task in view.rounds[0].tasks] == [
        TaskState.CANCELLED,
        TaskState.SUCCEEDED,
        TaskState.SUCCEEDED,
    ]
    box = boxes[tasks[0].device]
    assert [type(message) for message in publisher_of(world).to(box.id)] == [Assign, Withdraw, Assign]
    assert (await box.upload(late)).kind is ReceiptKind.TOO_LATE


async def test_at_the_deadline_the_quorum_merges_and_the_late_are_told(world: World) -> None:
    """Half of the target is enough at the deadline; who comes after it gets TOO_LATE, which is counted once."""
    boxes = await fleet(world, 2)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1, round_deadline_s=60))
    await step(world, run.id)
    late = (await boxes[1].sync()).tasks[0]
    await boxes[0].work()
    await clock_of(world).advance(60)
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert view.rounds[0].round.state is RoundState.COMMITTED
    assert {task.state for task in view.rounds[0].tasks} == {TaskState.SUCCEEDED, TaskState.TIMED_OUT}
    for _ in range(2):
        assert (await boxes[1].upload(late)).kind is ReceiptKind.TOO_LATE
    assert [found.metrics.late for found in (await runs.show_run(world, run.id)).rounds] == [1, 0]
    assert [(await devices.show_device(world, box.id)).device.late for box in boxes] == [0, 1]


async def test_fewer_than_the_quorum_abandon_the_round(world: World) -> None:
    """The reason stands on the round, and the next one is opened from the same base."""
    boxes = await fleet(world, 3)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=2, round_deadline_s=60))
    await step(world, run.id)
    await boxes[0].work()
    await clock_of(world).advance(60)
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert view.rounds[0].round.state is RoundState.ABANDONED
    assert view.rounds[0].round.reason == "1 of 3 asked reported, at least 2 had to: the deadline passed"
    assert (view.run.state, view.run.round, view.run.version) == (RunState.RUNNING, 2, "digits-1")


async def test_three_abandoned_rounds_in_a_row_fail_the_run(world: World) -> None:
    """Then the run says FAILED, with the last reason."""
    await fleet(world, 1)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=9, round_deadline_s=60))
    for _ in range(3):
        await step(world, run.id)
        await clock_of(world).advance(60)
    await step(world, run.id)
    ended = (await runs.show_run(world, run.id)).run
    assert ended.state is RunState.FAILED
    assert ended.reason.startswith("3 rounds in a row were abandoned; the last one: 0 of 1 asked reported")


async def test_a_run_whose_only_round_was_abandoned_fails(world: World) -> None:
    """A run that merged nothing is not COMPLETED."""
    boxes = await fleet(world, 1)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    task = (await boxes[0].sync()).tasks[0]
    await boxes[0].sync(TaskReport(task.id, Failed("NaN loss in step 3")))
    await step(world, run.id)
    assert (await runs.show_run(world, run.id)).run.state is RunState.FAILED


async def test_a_dead_device_is_not_waited_for(world: World) -> None:
    """Offline for longer than the grace, a device's task is dropped as soon as nobody else is left."""
    boxes = await fleet(world, 2)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    await boxes[0].work()
    await devices.presence(world, boxes[1].id, False, 1, 2)
    await step(world, run.id)
    assert (await runs.show_run(world, run.id)).rounds[0].round.state is RoundState.COLLECTING
    await clock_of(world).advance(world.settings.presence_grace_s)
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert view.rounds[0].round.state is RoundState.COMMITTED
    dropped = next(task for task in view.rounds[0].tasks if task.device == boxes[1].id)
    assert (dropped.state, dropped.reason) == (
        TaskState.CANCELLED,
        "the round closed without it: the device is offline",
    )


async def test_a_reproducible_run_waits_for_the_dead(world: World) -> None:
    """Its devices come back: only the deadline ends the wait, and then the round is abandoned."""
    boxes = await fleet(world, 2)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1, reproducible=True, round_deadline_s=600))
    await step(world, run.id)
    await boxes[0].work()
    await devices.presence(world, boxes[1].id, False, 1, 2)
    await clock_of(world).advance(500)
    await step(world, run.id)
    assert (await runs.show_run(world, run.id)).rounds[0].round.state is RoundState.COLLECTING
    await boxes[1].work()
    await step(world, run.id)
    assert (await runs.show_run(world, run.id)).rounds[0].round.state is RoundState.COMMITTED


async def test_a_failed_task_is_given_to_another_device(world: World) -> None:
    """A spare device gets a new task, once; the failed one keeps its reason."""
    boxes = {box.id: box for box in await fleet(world, 3)}
    request = RunSpec(MODEL, "digits", rounds=1, clients_per_round=2, over_select=1.0)
    run = await runs.start(world, request)
    await step(world, run.id)
    first = (await runs.show_run(world, run.id)).rounds[0].tasks[0]
    task = (await boxes[first.device].sync()).tasks[0]
    for _ in range(2):  # reported twice: delivery is at-least-once
        await boxes[first.device].sync(TaskReport(task.id, Rejected("on battery")))
        await step(world, run.id)
    tasks = (await runs.show_run(world, run.id)).rounds[0].tasks
    assert [task.state for task in tasks] == [TaskState.REJECTED, TaskState.OPEN, TaskState.OPEN]
    assert (tasks[0].reason, len({task.device for task in tasks})) == ("on battery", 3)


async def test_a_paused_run_finishes_its_round_and_opens_no_other(world: World) -> None:
    """Pausing lets the open round merge; resuming opens the next one."""
    boxes = await fleet(world, 1)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=2))
    await step(world, run.id)
    await runs.pause(world, run.id)
    await boxes[0].work()
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert (view.run.state, view.run.round, len(view.rounds)) == (RunState.PAUSED, 2, 1)
    assert view.rounds[0].round.state is RoundState.COMMITTED
    await runs.resume(world, run.id)
    await step(world, run.id)
    assert (await runs.show_run(world, run.id)).rounds[1].round.state is RoundState.COLLECTING


async def test_a_round_waits_for_able_devices_and_says_for_what(world: World) -> None:
    """With everybody offline, run and round say so; a device that comes back starts the round."""
    boxes = await fleet(world, 2)
    for box in boxes:
        await devices.presence(world, box.id, False, 1, 2)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1, clients_per_round=2))
    await step(world, run.id)
    waiting = await runs.show_run(world, run.id)
    assert waiting.run.reason == "waits for 1 able device; of 2 in the cohort 2 are offline"
    boxes[0].epoch = 2
    await boxes[0].register()
    await step(world, run.id)
    view = await runs.show_run(world, run.id)
    assert (view.rounds[0].round.state, view.run.reason) == (RoundState.COLLECTING, "")


async def test_every_decision_may_come_twice(world: World) -> None:
    """Each decision of a run with a drop-out, applied once more when all is done, changes nothing."""
    boxes = {box.id: box for box in await fleet(world, 4)}
    request = RunSpec(MODEL, "digits", rounds=2, clients_per_round=3, over_select=1.0)
    run = await runs.start(world, request)
    decided: list[tuple[Lead, Decision]] = []
    for turn in range(3):
        decided += await step(world, run.id)
        before = await runs.show_run(world, run.id)
        for lead, decision in decided:
            await apply(world, lead, decision)
        assert await runs.show_run(world, run.id) == before
        waiting = [task for task in before.rounds[-1].tasks if task.state is TaskState.OPEN]
        if turn == 0:
            await boxes[waiting[0].device].sync(TaskReport(waiting[0].id, Failed("it broke")))
        else:
            for task in waiting:
                await boxes[task.device].work()
    assert {type(decision) for _, decision in decided} == {Ask, AskMore, Close, Merge}
