"""The plan, decision by decision."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from headwater_control.core.fleet import Device, Patience
from headwater_control.core.rounds import (
    Ask,
    AskMore,
    Close,
    Merge,
    Open,
    Snapshot,
    Wait,
    abandoned,
    advance,
    close,
    merged,
    next_wake,
    opened,
    plan,
)
from headwater_control.core.runs import Round, RoundState, Run, RunSpec, RunState, TaskRecord, TaskState
from headwater_wire.ids import DeviceId, ModelName, RunId, TaskId, VersionId
from headwater_wire.messages import Column, DatasetCard, Phase

from tests.fakes.clock import START
from tests.fakes.offload import manifest_of

MODEL = ModelName("digits")
DIGITS = DatasetCard("digits", 9, (Column("x", "float32", (4,)), Column("label", "int64", ())))
SPEC = RunSpec(MODEL, "digits", VersionId("digits-1"), rounds=3, clients_per_round=2)
RUN = Run(RunId("run"), SPEC, RunState.RUNNING, SPEC.base, 1, START)
PATIENCE = Patience(grace_s=30, silence_s=180, since=START)


def later(seconds: float) -> datetime:
    """Give a moment after the start."""
    return START + timedelta(seconds=seconds)


def device(name: str, *, online: bool = True) -> Device:
    """Make a device that is able."""
    return Device(
        DeviceId(name),
        START,
        datasets=(DIGITS,),
        engines=("native",),
        online=online,
        presence_at=START,
        last_seen=START,
    )


def task(name: str, state: TaskState = TaskState.OPEN, order: int = 0) -> TaskRecord:
    """Make a task of a device of the same name."""
    return TaskRecord(TaskId(f"task-{name}"), RUN.id, 1, DeviceId(name), order, state, START, later(600))


COLLECTING = replace(opened(RUN, START), state=RoundState.COLLECTING, target=2, quorum=1, deadline=later(600))


def view(
    record: Round | None = COLLECTING,
    tasks: Sequence[TaskRecord] = (),
    devices: Sequence[Device] = (),
    run: Run = RUN,
) -> Snapshot:
    """Put a snapshot together."""
    graph = b"a graph"
    return Snapshot(run, record, tuple(tasks), tuple(devices), manifest_of(MODEL, graph), PATIENCE)


def test_a_running_run_without_a_round_opens_one() -> None:
    """A paused or ended one does not."""
    assert plan(view(None), START) == (Open(),)
    for state in (RunState.PAUSED, RunState.CANCELLED):
        assert plan(view(None, run=replace(RUN, state=state)), START) == ()


def test_selecting_asks_more_than_the_target() -> None:
    """ceil(over_select × target) devices are asked, in the order of a draw."""
    devices = [device(f"box-{number}") for number in range(9)]
    (ask,) = plan(view(opened(RUN, START), devices=devices), START)
    assert isinstance(ask, Ask)
    assert (len(ask.draw.devices), ask.draw.target, ask.draw.quorum) == (3, 2, 1)


def test_selecting_waits_with_a_reason_said_once() -> None:
    """Below the quorum the round waits; while the reason stays the same nothing is written."""
    record = opened(RUN, START)
    run = replace(RUN, spec=replace(SPEC, clients_per_round=4))
    (wait,) = plan(view(record, devices=[device("a")], run=run), START)
    assert wait == Wait("waits for 2 able devices; of 1 in the cohort 1 is able")
    record = replace(record, reason=wait.reason)
    assert plan(view(record, devices=[device("a")], run=replace(run, reason=wait.reason)), START) == ()
    assert plan(view(record, devices=[device("a")], run=run), START) == (wait,), "a resumption has cleared it"


def test_a_paused_run_asks_nobody() -> None:
    """Its selecting round waits for the resumption."""
    paused = replace(RUN, state=RunState.PAUSED)
    assert plan(view(opened(RUN, START), devices=[device("a")], run=paused), START) == ()


def test_collecting_waits_while_somebody_may_still_report() -> None:
    """Nothing is decided, and the next wake is when the first device is given up."""
    snapshot = view(tasks=[task("a", TaskState.SUCCEEDED), task("b")], devices=[device("a"), device("b")])
    assert plan(snapshot, later(119)) == ()
    assert next_wake(snapshot, START) == later(120)  # the progress deadline


def test_the_target_closes_the_round() -> None:
    """What is open then is cancelled."""
    tasks = [task("a", TaskState.SUCCEEDED), task("b", TaskState.SUCCEEDED), task("c")]
    (end,) = plan(view(tasks=tasks, devices=[device("c")]), START)
    assert isinstance(end, Close)
    assert [(drop.task.device, drop.state) for drop in end.dropped] == [("c", TaskState.CANCELLED)]


def test_the_deadline_closes_the_round() -> None:
    """What is open then has timed out, even if its device is well."""
    (end,) = plan(view(tasks=[task("a")], devices=[device("a")]), later(600))
    assert isinstance(end, Close)
    assert [drop.state for drop in end.dropped] == [TaskState.TIMED_OUT]


def test_a_device_offline_beyond_the_grace_is_not_waited_for() -> None:
    """Within the grace it is."""
    snapshot = view(tasks=[task("a")], devices=[device("a", online=False)])
    assert plan(snapshot, later(29)) == ()
    assert next_wake(snapshot, START) == later(30)
    (end,) = plan(snapshot, later(30))
    assert isinstance(end, Close)
    assert end.dropped[0].reason == "the round closed without it: the device is offline"


def test_a_silent_device_is_not_waited_for() -> None:
    """Online by its last word, but not heard of: it counts as dead after `silence_s`."""
    working = replace(task("a"), progress_at=later(100))
    snapshot = view(tasks=[working], devices=[device("a")])
    assert plan(snapshot, later(179)) == ()
    (end,) = plan(snapshot, later(180))
    assert isinstance(end, Close)
    assert end.dropped[0].reason == "the round closed without it: the device is silent"


def test_a_device_without_progress_is_not_waited_for() -> None:
    """It is alive, but phase and step have not moved for the progress deadline."""
    alive = replace(device("a"), last_seen=later(119))
    (end,) = plan(view(tasks=[task("a")], devices=[alive]), later(120))
    assert isinstance(end, Close)
    assert end.dropped[0].reason == "the round closed without it: no progress for 120 s"


@pytest.mark.parametrize("phase", [Phase.ACCEPTED, Phase.SPOOLED])
def test_a_task_that_waits_for_its_turn_is_waited_for(phase: Phase) -> None:
    """Behind another run's task, or another delta: until the round's deadline, as long as its device is heard of."""
    queued = replace(task("a"), phase=phase)
    alive = replace(device("a"), last_seen=later(500))
    assert plan(view(tasks=[queued], devices=[alive]), later(599)) == ()
    assert next_wake(view(tasks=[queued], devices=[alive]), later(120)) == later(600)
    (end,) = plan(view(tasks=[queued], devices=[device("a")]), later(180))
    assert isinstance(end, Close)
    assert end.dropped[0].reason == "the round closed without it: the device is silent"


def test_what_was_not_heard_while_nobody_listened_proves_nothing() -> None:
    """After the control plane was down for an hour, every patience begins anew."""
    snapshot = replace(
        view(replace(COLLECTING, deadline=later(9000)), tasks=[task("a")], devices=[device("a", online=False)]),
        patience=replace(PATIENCE, since=later(3600)),
    )
    assert plan(snapshot, later(3601)) == ()
    assert next_wake(snapshot, later(3601)) == later(3630)


def test_a_failed_task_is_replaced_by_a_spare_device() -> None:
    """As long as those who reported or still could are fewer than the target, spares are asked, each once."""
    tasks = [task("a", TaskState.FAILED), task("b")]
    devices = [device(name) for name in "abcd"]
    (more,) = plan(view(tasks=tasks, devices=devices), START)
    assert isinstance(more, AskMore)
    assert len(more.devices) == 1
    assert set(more.devices) < {"c", "d"}
    assert plan(view(tasks=[*tasks, task(more.devices[0])], devices=devices), START) == ()


def test_nobody_left_closes_the_round() -> None:
    """When every task has ended and there is no spare, waiting would be in vain."""
    (end,) = plan(view(tasks=[task("a", TaskState.FAILED)], devices=[device("a")]), START)
    assert isinstance(end, Close)


def test_a_reproducible_round_waits_to_the_deadline() -> None:
    """For the dead and the stalled alike; it asks no spare, since that would depend on time."""
    run = replace(RUN, spec=replace(SPEC, reproducible=True))
    tasks = [task("a"), task("b", TaskState.FAILED)]
    snapshot = view(tasks=tasks, devices=[device("a", online=False), device("b"), device("c")], run=run)
    assert plan(snapshot, later(599)) == ()
    assert next_wake(snapshot, START) == later(600)
    assert len(plan(snapshot, later(600))) == 1
    assert len(plan(view(tasks=[task("a", TaskState.FAILED)], devices=[device("c")], run=run), START)) == 1


def test_a_merging_round_merges_though_the_run_is_paused() -> None:
    """Pausing opens no new round, but ends the open one."""
    record = replace(COLLECTING, state=RoundState.MERGING)
    assert plan(view(record, run=replace(RUN, state=RunState.PAUSED)), START) == (Merge(),)


def test_closing_freezes_what_succeeded_in_selection_order() -> None:
    """The rest is not merged."""
    tasks = [
        task("a", TaskState.SUCCEEDED, 0),
        task("b", TaskState.TIMED_OUT, 1),
        task("c", TaskState.SUCCEEDED, 2),
    ]
    run, record = close(RUN, COLLECTING, tasks, (), "why", later(9))
    assert (run, record.state, record.frozen) == (RUN, RoundState.MERGING, ("task-a", "task-c"))


def test_an_evaluation_is_committed_without_a_merge() -> None:
    """Then the run is COMPLETED; without enough scores it is too, and says that it has none."""
    run = replace(RUN, round=4)
    record = replace(COLLECTING, number=4, evaluate=True)
    ended, committed = close(run, record, [task("a", TaskState.SUCCEEDED)], (), "why", later(9))
    assert (ended.state, ended.reason, committed.state) == (RunState.COMPLETED, "", RoundState.COMMITTED)
    ended, lost = close(run, record, [task("a", TaskState.FAILED)], (), "why", later(9))
    assert (ended.state, lost.state) == (RunState.COMPLETED, RoundState.ABANDONED)
    assert ended.reason.startswith("the last version has no score: 0 of 1 asked reported")


def test_a_merged_round_moves_the_run_on() -> None:
    """Version and round number follow; after the last training round comes the evaluation."""
    run, record = merged(replace(RUN, round=3), replace(COLLECTING, number=3), VersionId("digits-2"), later(9))
    assert (run.version, run.round, record.merged) == ("digits-2", 4, "digits-2")
    assert opened(run, later(9)).evaluate
    assert opened(run, later(9)).base == "digits-2"


def test_only_rounds_abandoned_in_a_row_fail_a_run() -> None:
    """A committed one between them starts the count anew."""
    lost = replace(COLLECTING, state=RoundState.ABANDONED, reason="r")
    fine = replace(COLLECTING, state=RoundState.COMMITTED)
    run = replace(RUN, spec=replace(SPEC, rounds=9), round=3, version=VersionId("digits-2"))
    third = replace(lost, number=3)
    before = (replace(fine, number=1), replace(lost, number=2))
    assert advance(run, third, before, START).state is RunState.RUNNING
    before = (replace(lost, number=1), replace(lost, number=2))
    assert advance(run, third, before, START).state is RunState.FAILED


def test_a_run_that_merged_nothing_fails_at_its_last_round() -> None:
    """Having merged something, it goes on to the evaluation."""
    last = replace(COLLECTING, number=3)
    run = replace(RUN, round=3)
    assert abandoned(run, last, (), "r", START)[0].state is RunState.FAILED
    moved = replace(run, version=VersionId("digits-2"))
    assert abandoned(moved, last, (), "r", START)[0] == replace(moved, round=4)
