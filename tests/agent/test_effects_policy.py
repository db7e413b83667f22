"""What the owner's policy makes of a training: the part that only its course can tell."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.policy import Floor, Limits, Policy
from headwater_agent.training import protocol
from headwater_agent.trainings import PREPARE_S
from headwater_wire.ids import TaskId, VersionId

from tests.fakes.agent_bench import DONE, Bench
from tests.fakes.agent_bundle import DATASET
from tests.fakes.leaping import in_virtual_time


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


async def test_the_owner_s_floor_goes_with_the_job(bench: Bench) -> None:
    """The worker keeps it, whatever the plan says."""
    floor = Floor(min_examples=3, clip_norm=0.5)
    bench.effects.policy = Policy(datasets=((DATASET, Limits(models=("m",), floor=floor)),))
    bench.worker.replies = [DONE]
    assert isinstance(await bench.effects.perform(do.Train(bench.task, 1)), on.Trained)
    job = bench.worker.jobs[0]
    assert isinstance(job, protocol.Train) and job.floor == floor


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
