"""How many reports a leader may let pass without looking."""

from dataclasses import replace
from datetime import timedelta

from headwater_control.core.fleet import Device, Patience
from headwater_control.core.rounds import Snapshot, plan, reports_awaited
from headwater_control.core.runs import Round, RoundState, Run, RunSpec, RunState, TaskRecord, TaskState
from headwater_wire.ids import DeviceId, ModelName, RunId, TaskId, VersionId
from headwater_wire.messages import Column, DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import START
from tests.fakes.offload import manifest_of

NOW = START + timedelta(seconds=100)
DIGITS = DatasetCard("digits", 9, (Column("x", "float32", (4,)), Column("label", "int64", ())))


@st.composite
def collecting(draw: st.DrawFn) -> Snapshot:
    """Make a collecting round: some tasks ended, some devices offline for a while, some spare."""
    states = draw(st.lists(st.sampled_from((TaskState.OPEN, TaskState.OPEN, *TaskState)), min_size=1, max_size=8))
    offline = draw(st.sets(st.integers(0, 11), max_size=5))
    spare = draw(st.integers(0, 3))
    spec = RunSpec(ModelName("digits"), "digits", VersionId("digits-1"), reproducible=draw(st.booleans()))
    run = Run(RunId("run"), spec, RunState.RUNNING, spec.base, 1, START)
    names = [DeviceId(f"box-{number:02d}") for number in range(len(states) + spare)]
    devices = tuple(
        Device(name, START, datasets=(DIGITS,), engines=("native",), online=number not in offline, presence_at=START,
               last_seen=START)
        for number, name in enumerate(names)
    )  # fmt: skip
    tasks = tuple(
        TaskRecord(TaskId(name), run.id, 1, name, order, state, START, START + timedelta(seconds=600))
        for order, (name, state) in enumerate(zip(names, states, strict=False))
    )
    record = Round(
        run.id, 1, RoundState.COLLECTING, spec.base, False, START,
        target=draw(st.integers(1, len(tasks))), quorum=1, deadline=START + timedelta(seconds=600),
    )  # fmt: skip
    return Snapshot(run, record, tasks, devices, manifest_of(ModelName("digits"), b"a graph"), Patience(30, 180, START))


@given(collecting(), st.data())
def test_fewer_reports_than_awaited_change_nothing(view: Snapshot, data: st.DataObject) -> None:
    """Where nothing is to be done, nothing is to be done after fewer successes either, whoever has them."""
    if plan(view, NOW):
        return
    waiting = [task.id for task in view.tasks if task.state is TaskState.OPEN]
    few = min(reports_awaited(view, NOW) - 1, len(waiting))
    done = set(data.draw(st.permutations(waiting))[: data.draw(st.integers(0, few))])
    tasks = tuple(replace(task, state=TaskState.SUCCEEDED) if task.id in done else task for task in view.tasks)
    assert plan(replace(view, tasks=tasks), NOW) == ()


@given(collecting())
def test_as_many_as_awaited_are_there_to_come(view: Snapshot) -> None:
    """A leader never waits for more reports than open tasks could bring."""
    waiting = sum(task.state is TaskState.OPEN for task in view.tasks)
    assert 1 <= reports_awaited(view, NOW) <= max(1, waiting)


def test_outside_of_collecting_any_one_matters() -> None:
    """There is nothing to count in a round that selects, merges, or is not opened."""
    spec = RunSpec(ModelName("digits"), "digits", VersionId("digits-1"))
    run = Run(RunId("run"), spec, RunState.RUNNING, spec.base, 1, START)
    manifest, patience = manifest_of(ModelName("digits"), b"a graph"), Patience(30, 180, START)
    assert reports_awaited(Snapshot(run, None, (), (), manifest, patience), NOW) == 1
