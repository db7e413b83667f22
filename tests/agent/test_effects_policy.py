"""What the owner's policy makes of a training: the part that only its course can tell."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.policy import Floor, Limits, Policy
from headwater_agent.ports import Died
from headwater_agent.training import protocol
from headwater_agent.trainings import PREPARE_S
from headwater_wire import digests
from headwater_wire.ids import TaskId, VersionId
from headwater_wire.messages import DatasetCard, Metrics

from tests.fakes.agent_bench import DELTA, DONE, Bench
from tests.fakes.agent_bundle import DATASET
from tests.fakes.agent_home import until
from tests.fakes.agent_ports import PROTECTED
from tests.fakes.leaping import in_virtual_time

SAFE = protocol.Protected(digests.of_bytes(PROTECTED))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Effects among fakes."""
    return Bench(tmp_path)


class SilentWorker:
    """A child that never says anything."""

    async def run(self, job: protocol.Job, on_step: Callable[[protocol.Stepped], None]) -> protocol.Reply:
        """Be asked."""
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    def interrupt(self) -> None:
        """Hear nothing."""


def floored(bench: Bench, floor: Floor, count: int | None = 100) -> None:
    """Set a floor, on a dataset of so many examples as the box has counted them."""
    bench.effects.policy = Policy(datasets=((DATASET, Limits(models=("m",), floor=floor)),))
    bench.effects.counted = {DATASET: count}.get


async def test_a_delta_is_protected_by_another_job_before_it_is_spooled(bench: Bench) -> None:
    """What was trained is left plain, and only what another child made of it is ever taken over."""
    floor = Floor(min_examples=3, clip_norm=0.5)
    floored(bench, floor)
    bench.worker.replies = [DONE, SAFE]
    event = await bench.effects.perform(do.Train(bench.task, 1))
    assert isinstance(event, on.Trained) and event.delta == SAFE.delta
    trains, protects = bench.worker.jobs
    assert isinstance(trains, protocol.Train) and trains.floor == floor
    assert isinstance(protects, protocol.Protect) and protects.floor == floor
    assert protects.delta_path == trains.delta_path and protects.codec == bench.task.plan.codec
    assert Path(protects.protected_path).parent != Path(trains.delta_path).parent
    assert bench.spool.held[bench.task.id].read_bytes() == PROTECTED
    assert not [path for path in bench.spool.work if path.exists()]


@pytest.mark.parametrize("floor", [Floor(), Floor(min_examples=3, report_metrics=False)])
async def test_who_asks_for_no_clipping_pays_for_none(bench: Bench, floor: Floor) -> None:
    """The training's own delta is taken over, by no further job."""
    floored(bench, floor)
    bench.worker.replies = [DONE]
    assert isinstance(await bench.effects.perform(do.Train(bench.task, 1)), on.Trained)
    assert len(bench.worker.jobs) == 1 and bench.spool.held[bench.task.id].read_bytes() == DELTA


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (protocol.Refused("its numbers are 0x5EC2E7"), on.TrainingBroke),
        (protocol.Broke("its numbers are 0x5EC2E7"), on.TrainingBroke),
        (DONE, on.TrainingBroke),
        (Died("SIGKILL"), on.WorkerDied),
    ],
)
async def test_what_is_not_protected_is_not_kept(bench: Bench, end: protocol.Reply | Died, kind: type) -> None:
    """Nor told of in words that the delta's author may have chosen."""
    floored(bench, Floor(clip_norm=0.5))
    bench.worker.replies = [DONE, end]
    event = await bench.effects.perform(do.Train(bench.task, 1))
    assert isinstance(event, kind) and "0x5EC2E7" not in str(event)
    assert bench.spool.held == {} and not [path for path in bench.spool.work if path.exists()]


def test_protecting_has_its_time(tmp_path: Path) -> None:
    """A child that hangs is ended, and nothing is kept."""

    async def train() -> tuple[on.Event | None, int, dict[TaskId, Path]]:
        bench = Bench(tmp_path)
        floored(bench, Floor(clip_norm=0.5))
        bench.worker.replies = [DONE, None]
        return await bench.effects.perform(do.Train(bench.task, 1)), bench.worker.killed, bench.spool.held

    event, killed, held = in_virtual_time(train())
    assert isinstance(event, on.TrainingBroke) and "longer than 1800 s" in event.reason
    assert killed == 1 and held == {}


async def test_too_few_examples_as_the_box_counts_them_are_not_trained_on(bench: Bench) -> None:
    """Whatever the child would say: it is not asked. What is not counted yet is counted first, by another job."""
    floored(bench, Floor(min_examples=101))
    event = await bench.effects.perform(do.Train(bench.task, 1))
    assert isinstance(event, on.TrainingRefused) and "policy.min_examples is 101" in event.reason
    assert bench.worker.jobs == []
    floored(bench, Floor(min_examples=101), count=None)
    for card, words in (
        (DatasetCard(DATASET, 100), "policy.min_examples is 101"),
        (DatasetCard(DATASET, 0, problem="no file"), "dataset 'numbers' can't be used: no file"),
    ):
        bench.worker.replies = [protocol.Inspected(card)]
        event = await bench.effects.perform(do.Train(bench.task, 1))
        assert isinstance(event, on.TrainingRefused) and words in event.reason
        assert isinstance(bench.worker.jobs[-1], protocol.Inspect)


async def test_the_box_itself_keeps_the_metrics(bench: Bench) -> None:
    """Of what the child says nothing is told, not even in seconds: examples are the box's count, time is its own."""
    floored(bench, Floor(report_metrics=False))
    leak = Metrics(12345, 0.5, 678, 0.25, 9.0, 3.14159, 2.0)
    plan = replace(bench.task.plan, holdout=0.25)
    for train in (True, False):
        task = replace(bench.task, plan=replace(plan, train=train))
        bench.worker.replies = [replace(DONE, metrics=leak, delta=DONE.delta if train else None)]
        event = await bench.effects.perform(do.Train(task, 1))
        assert isinstance(event, on.Trained | on.Scored)
        assert event.metrics == Metrics(examples=74 if train else 0, seconds=event.metrics.seconds)
        assert event.metrics.seconds < 3.0


async def test_no_more_examples_are_told_than_there_are(bench: Bench) -> None:
    """A merge weighs by them."""
    floored(bench, Floor())
    bench.worker.replies = [replace(DONE, metrics=Metrics(10**9, 0.5, 10**9, seconds=3.0))]
    event = await bench.effects.perform(do.Train(replace(bench.task, plan=replace(bench.task.plan, holdout=0.25)), 1))
    assert isinstance(event, on.Trained) and event.metrics == Metrics(74, 0.5, 26, seconds=3.0)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (protocol.Refused("SECRET"), on.TrainingRefused),
        (protocol.Broke("SECRET"), on.TrainingBroke),
        (Died("its last words: SECRET"), on.WorkerDied),
    ],
)
async def test_without_metrics_the_child_s_words_stay_on_the_box(
    bench: Bench, reply: protocol.Reply | Died, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    """A reason is a way out too; the log has it, and without such a floor it is told."""
    for floor, told in ((Floor(report_metrics=False), False), (Floor(), True)):
        floored(bench, floor)
        caplog.clear()
        bench.worker.replies = [reply]
        event = await bench.effects.perform(do.Train(bench.task, 1))
        assert isinstance(event, kind) and ("SECRET" in str(event)) == told
        assert told or ("policy.report_metrics" in str(event) and "SECRET" in caplog.text)


async def test_under_a_floor_progress_tells_no_loss(bench: Bench) -> None:
    """It may be one example's; and no more steps than the box itself counts. Without a floor it is told."""
    for floor, count, loss in ((Floor(), None, 0.5), (Floor(min_examples=2), 100, 0.0)):
        floored(bench, floor, count)
        bench.worker.replies = [None]
        training = asyncio.create_task(bench.effects.perform(do.Train(bench.task, 1)))
        await until(lambda: bench.task.id in bench.effects.live and bench.effects.live[bench.task.id].steps, "a step")
        assert bench.effects.live[bench.task.id].loss == loss
        training.cancel()
        await asyncio.wait([training])


async def test_a_bundle_of_another_model_than_the_task_says_is_refused(bench: Bench) -> None:
    """Before the worker sees it."""
    bench.effects.policy = Policy(general=Limits(models=("other",)))
    disguised = replace(bench.task, base_version=VersionId("other-1"))
    event = await bench.effects.perform(do.Train(disguised, 1))
    assert isinstance(event, on.TrainingRefused) and "policy.models does not name 'm'" in event.reason
    assert bench.worker.jobs == []


async def test_a_delta_larger_than_the_owner_allows_is_not_kept(bench: Bench) -> None:
    """Whatever was foreseen of it."""
    bench.effects.policy = Policy(general=Limits(max_mb_up=4e-6))
    bench.worker.replies = [DONE]
    event = await bench.effects.perform(do.Train(bench.task, 1))
    assert isinstance(event, on.TrainingRefused) and "policy.max_mb_up" in event.reason
    assert bench.spool.held == {} and not [path for path in bench.spool.work if path.exists()]


def test_a_training_ends_when_the_owner_s_minutes_are_over(tmp_path: Path) -> None:
    """Counted from its first step on; the child is ended, and the task is refused with the setting's name."""

    async def train(minutes: float) -> tuple[on.Event | None, float, int]:
        bench = Bench(tmp_path)
        bench.effects.policy = Policy(general=Limits(max_minutes=minutes))
        bench.worker.replies = [None]
        event = await bench.effects.perform(do.Train(bench.task, 2))
        return event, asyncio.get_running_loop().time(), bench.worker.killed

    event, took_s, killed = in_virtual_time(train(90.0))
    reason = "this box's owner does not allow it: policy.max_minutes is 90, and the training took longer"
    assert event == on.TrainingRefused(TaskId("task-1"), 2, reason)
    assert killed == 1 and took_s == pytest.approx(90 * 60, abs=1.0)


def test_what_precedes_the_first_step_has_a_limit_too(tmp_path: Path) -> None:
    """A look at a dataset may go on until then; a child that never begins is ended all the same."""

    async def train() -> tuple[on.Event | None, float]:
        bench = Bench(tmp_path)
        bench.effects.policy = Policy(general=Limits(max_minutes=1.0))
        bench.effects.trainings.worker = SilentWorker()
        event = await bench.effects.perform(do.Train(bench.task, 1))
        return event, asyncio.get_running_loop().time()

    event, took_s = in_virtual_time(train())
    assert isinstance(event, on.TrainingRefused) and took_s == pytest.approx(PREPARE_S + 60, abs=1.0)
