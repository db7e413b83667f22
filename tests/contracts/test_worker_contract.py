"""What every implementation of the port `Worker` promises: run on a real training child and on the fake."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from headwater_agent.edges.children import warm_worker, worker_command
from headwater_agent.ports import Died, Worker
from headwater_agent.training.protocol import (
    Check,
    Checked,
    ColumnConfig,
    DatasetConfig,
    Inspect,
    Inspected,
    Refused,
    Reply,
    Stepped,
    Stopped,
    Train,
    Trained,
)
from headwater_wire import digests
from headwater_wire.crashpoint import VARIABLE
from headwater_wire.messages import DatasetCard, Plan

from tests.fakes.agent_bundle import DATASET, dataset_file, offered
from tests.fakes.agent_gateway import ScriptedGateway
from tests.fakes.agent_ports import ScriptedWorker
from tests.fakes.agent_world import METRICS

DEADLINE_S = 30.0
DELTA = b"a delta"
FOR_EVER = Plan(epochs=10_000_000, batch_size=1)


@dataclass
class Target:
    """A worker. `script` tells the fake what to reply next; `running` says whether a child is at work, or warm."""

    worker: Worker
    script: Callable[[Reply | Exception | None], None]
    running: Callable[[], bool]


@asynccontextmanager
async def child(monkeypatch: pytest.MonkeyPatch, folder: Path) -> AsyncIterator[Target]:
    """The real one: a child process, with the engine that needs no model. A scripted death is one in mid-training."""

    def script(reply: Reply | Exception | None) -> None:
        if isinstance(reply, Died):
            monkeypatch.setenv(VARIABLE, f"train.step:2@{folder / 'died'}")

    def running() -> bool:
        return any("training.worker" in " ".join(found.cmdline()) for found in psutil.Process().children())

    command = (*worker_command("constant"), "--confinement", "off")
    async with warm_worker(command, idle_s=60, nice=0) as worker:
        yield Target(worker, script, running)


@asynccontextmanager
async def scripted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> AsyncIterator[Target]:
    """The fake."""
    worker = ScriptedWorker(wrote=DELTA)
    yield Target(worker, worker.replies.append, lambda: not worker.killed)


Open = Callable[[pytest.MonkeyPatch, Path], AbstractAsyncContextManager[Target]]


@pytest.fixture(params=[child, scripted])
async def target(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Target]:
    """Each implementation."""
    opener: Open = request.param
    async with opener(monkeypatch, tmp_path) as opened:
        yield opened


@pytest.fixture
def job(tmp_path: Path) -> Train:
    """A training of ten examples, in two epochs."""
    gateway = ScriptedGateway()
    task = offered(gateway, tmp_path)
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(gateway.blobs[task.bundle.digest])
    columns = (ColumnConfig("x", ("x",)), ColumnConfig("label", ("label",), dtype="int64"))
    return Train(
        task=task.id,
        manifest_path=str(manifest),
        files=(),
        base_path=str(tmp_path / "base.safetensors"),
        delta_path=str(tmp_path / "delta"),
        dataset=DatasetConfig(DATASET, "npz", str(dataset_file(tmp_path)), columns),
        plan=task.plan,
    )


def delta_of(job: Train) -> Path:
    """Say where a job's delta is to be."""
    return Path(job.delta_path)


def ignore(step: Stepped) -> None:
    """Hear of a step."""


async def test_a_training_leaves_the_delta_it_tells_of(target: Target, job: Train) -> None:
    """Its steps were told before, upwards from 1; each job has its own."""
    for _ in range(2):
        target.script(Trained(METRICS, digests.of_bytes(DELTA)))
        steps: list[Stepped] = []
        reply = await target.worker.run(job, steps.append)
        assert isinstance(reply, Trained) and reply.delta == digests.of_file(delta_of(job))
        assert reply.metrics.examples > 0
        told = [step.step for step in steps]
        assert told[0] == 1 and told == sorted(set(told)) and told[-1] <= steps[0].steps


async def test_a_scoring_leaves_no_delta(target: Target, job: Train) -> None:
    """Only figures come of it."""
    target.script(Trained(METRICS, None))
    reply = await target.worker.run(replace(job, plan=replace(job.plan, train=False)), ignore)
    assert isinstance(reply, Trained) and reply.delta is None
    assert reply.metrics.holdout_examples >= 0 and not delta_of(job).exists()


async def test_what_is_wrong_is_an_answer(target: Target, job: Train) -> None:
    """A job that can't be done raises nothing, has its reason, and leaves the worker ready for the next one."""
    target.script(Refused("the model can't be read"))
    refused = await target.worker.run(replace(job, base_path="/nowhere"), ignore)
    assert isinstance(refused, Refused) and refused.reason
    target.script(Inspected(DatasetCard(DATASET, 0, problem="no such file")))
    inspected = await target.worker.run(Inspect(replace(job.dataset, path="/nowhere")), ignore)
    assert isinstance(inspected, Inspected) and inspected.card.problem
    target.script(Checked("the reference can't be read"))
    checked = await target.worker.run(Check("/nowhere", "/nowhere", 0.1), ignore)
    assert isinstance(checked, Checked) and checked.problem


async def test_a_training_that_is_interrupted_stops_and_the_next_job_is_done(target: Target, job: Train) -> None:
    """It answers itself that it has; to interrupt a worker that doesn't train changes nothing."""
    target.worker.interrupt()
    target.script(None)
    stepped = asyncio.Event()
    running = asyncio.create_task(target.worker.run(replace(job, plan=FOR_EVER), lambda step: stepped.set()))
    async with asyncio.timeout(DEADLINE_S):
        await stepped.wait()
        target.worker.interrupt()
        assert await running == Stopped()
    target.script(Trained(METRICS, digests.of_bytes(DELTA)))
    assert isinstance(await target.worker.run(job, ignore), Trained) and target.running()


async def test_a_death_is_raised_and_the_next_job_is_done(target: Target, job: Train) -> None:
    """With a sentence that says how it ended."""
    target.script(Died("it was ended by SIGKILL"))
    with pytest.raises(Died, match="SIGKILL"):
        await target.worker.run(job, ignore)
    target.script(Trained(METRICS, digests.of_bytes(DELTA)))
    assert isinstance(await target.worker.run(job, ignore), Trained)


async def test_cancelling_ends_the_work(target: Target, job: Train) -> None:
    """When the cancelled call is over, nobody goes on working on it; the next job is done."""
    target.script(None)
    begun = asyncio.Event()
    training = asyncio.create_task(target.worker.run(replace(job, plan=FOR_EVER), lambda step: begun.set()))
    async with asyncio.timeout(DEADLINE_S):
        await begun.wait()
        assert target.running() and not training.done()
        training.cancel()
        await asyncio.wait([training])
    assert training.cancelled() and not target.running()
    target.script(Trained(METRICS, digests.of_bytes(DELTA)))
    assert isinstance(await target.worker.run(job, ignore), Trained)


async def test_looking_at_data_need_not_wait_for_a_training(target: Target, job: Train) -> None:
    """It is done beside it, and the training goes on."""
    target.script(None)
    begun = asyncio.Event()
    training = asyncio.create_task(target.worker.run(replace(job, plan=FOR_EVER), lambda step: begun.set()))
    async with asyncio.timeout(DEADLINE_S):
        await begun.wait()
        target.script(Inspected(DatasetCard(DATASET, 10)))
        reply = await target.worker.run(Inspect(job.dataset), ignore)
        assert isinstance(reply, Inspected) and reply.card.examples == 10
        assert not training.done()
        training.cancel()
        await asyncio.wait([training])
