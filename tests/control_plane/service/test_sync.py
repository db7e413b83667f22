"""Sync heals: it alone brings tasks to a device and outcomes back, however often it is repeated."""

from dataclasses import replace
from datetime import datetime

import pytest
from headwater_control.core.runs import RoundState, RunSpec, RunState, TaskState
from headwater_control.ports import Assign, Ring
from headwater_control.service import devices, runs
from headwater_control.service.work import Work, work
from headwater_control.service.world import World
from headwater_wire.ids import TaskId
from headwater_wire.messages import Evaluated, Failed, HeldTask, Phase, TaskReport

from tests.control_plane.service.driver import step
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import METRICS, MODEL, Box


async def test_without_any_message_sync_alone_carries_a_run(world: World) -> None:
    """With a publisher that loses everything, a run still completes."""
    world = replace(world, publisher=FakePublisher(deaf=True))
    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=2))
    for _ in range(3):
        await step(world, run.id)
        await box.work()
    await step(world, run.id)
    assert (await runs.show_run(world, run.id)).run.state is RunState.COMPLETED


async def test_an_assignment_and_the_answer_are_the_same_task(world: World) -> None:
    """What MQTT carried and what Sync says are equal, and so are their revisions."""
    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    assert isinstance(world.publisher, FakePublisher)
    message = world.publisher.to(box.id)[-1]
    answer = await box.sync()
    assert message == Assign(box.id, answer.revision, answer.tasks[0])


async def test_a_task_is_labelled_with_its_run_s_cohort(world: World) -> None:
    """So that a box's owner can allow or refuse by it."""
    box = await Box(world, "box-1", {"site": "north", "line": "7"}).register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1, cohort=(("site", "north"),)))
    await step(world, run.id)
    assert [task.labels for task in (await box.sync()).tasks] == [(("site", "north"),)]


async def test_an_unknown_device_is_asked_for_its_hello(world: World) -> None:
    """The answer to a stranger holds nothing but that wish."""
    answer = await Box(world, "stranger").sync()
    assert (answer.hello_wanted, answer.tasks, answer.revision) == (True, (), 0)


async def test_another_hello_than_the_stored_one_is_asked_for(world: World) -> None:
    """The hash tells whether the server has the newest Hello."""
    box = await Box(world, "box-1").register()
    assert not (await box.sync()).hello_wanted
    box.engines = ("native", "portable")
    assert (await box.sync()).hello_wanted


async def test_a_wiped_device_learns_the_highest_epoch(world: World) -> None:
    """An agent whose counter began again hears how far it had been."""
    box = await Box(world, "box-1", epoch=7).register()
    box.epoch = 1
    assert (await box.sync()).epoch == 7


async def test_a_repeated_report_changes_nothing(world: World) -> None:
    """The first outcome of a task stands."""
    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    task = (await box.sync()).tasks[0]
    for reason in ("out of memory", "on battery"):
        await box.sync(TaskReport(task.id, Failed(reason)), TaskReport(TaskId("task-of-yore"), Failed(reason)))
    record = (await runs.show_run(world, run.id)).rounds[0].tasks[0]
    assert (record.state, record.reason) == (TaskState.FAILED, "out of memory")


async def test_what_is_no_open_task_of_its_own_is_not_looked_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All others wait for the one that writes: whatever a device reports, its own open tasks are looked at, once."""
    box, other = await Box(world, "box-1").register(), await Box(world, "box-2").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    (mine,), (theirs,) = (await box.sync()).tasks, (await other.sync()).tasks
    looked: list[TaskId] = []

    async def look(unit: Work, report: TaskReport, now: datetime) -> None:
        looked.append(report.task)

    monkeypatch.setattr("headwater_control.service.sync._apply", look)
    told = [TaskReport(task, Failed("x")) for task in (mine.id, theirs.id, TaskId("no-task"))]
    await box.sync(*told * 9)
    assert looked == [mine.id]


async def test_nobody_reports_for_another_device(world: World) -> None:
    """A report on a task that was given to another box is ignored."""
    box, other = await Box(world, "box-1").register(), await Box(world, "box-2").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    task = (await box.sync()).tasks[0]
    await other.sync(TaskReport(task.id, Failed("gone")))
    assert [held.id for held in (await box.sync()).tasks] == [task.id]


async def test_a_score_where_a_delta_was_asked_fails_the_task(world: World) -> None:
    """Only an evaluate-only task ends by a score."""
    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    task = (await box.sync()).tasks[0]
    await box.sync(TaskReport(task.id, Evaluated(METRICS)))
    record = (await runs.show_run(world, run.id)).rounds[0].tasks[0]
    assert (record.state, record.reason) == (TaskState.FAILED, "it reported a score where a delta was asked for")


async def test_the_heartbeat_is_quicker_while_tasks_are_open(world: World) -> None:
    """Idle devices are left in peace; busy ones are paced by the busy interval."""
    box = await Box(world, "box-1").register()
    assert (await box.sync()).heartbeat_s == world.settings.heartbeat_idle_s
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    assert (await box.sync()).heartbeat_s == world.settings.heartbeat_busy_s


async def test_sync_is_a_sign_of_life(world: World) -> None:
    """A device that was believed offline can be asked again once it has synced."""
    box = await Box(world, "box-1").register()
    await devices.presence(world, box.id, False, 1, 2)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    assert (await runs.show_run(world, run.id)).rounds[0].round.state is RoundState.SELECTING
    await box.sync()
    await step(world, run.id)
    assert (await runs.show_run(world, run.id)).rounds[0].round.state is RoundState.COLLECTING


async def test_what_a_device_holds_shows_as_its_phase(world: World) -> None:
    """A held task's phase is noted, so that people see it without any heartbeat."""
    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    task = (await box.sync()).tasks[0]
    await box.sync(held=(HeldTask(task.id, Phase.TRAINING),))
    assert (await runs.show_run(world, run.id)).rounds[0].tasks[0].phase is Phase.TRAINING


async def test_several_changes_at_once_ring_instead(world: World) -> None:
    """Two changes for a device in one transaction share a revision, so it is rung to sync instead of told of each."""
    box = await Box(world, "box-1").register()
    async with work(world) as unit:
        unit.withdraw(box.id, TaskId("task-1"), "over")
        unit.withdraw(box.id, TaskId("task-2"), "over")
    assert isinstance(world.publisher, FakePublisher)
    assert world.publisher.to(box.id) == [Ring(box.id, 1)]


async def test_nobody_is_told_of_what_was_rolled_back(world: World) -> None:
    """A failed transaction publishes nothing and raises no revision."""
    box = await Box(world, "box-1").register()
    with pytest.raises(ZeroDivisionError):
        async with work(world) as unit:
            unit.withdraw(box.id, TaskId("task-1"), "over")
            raise ZeroDivisionError
    assert isinstance(world.publisher, FakePublisher)
    assert world.publisher.sent == []
    assert (await box.sync()).revision == 0
