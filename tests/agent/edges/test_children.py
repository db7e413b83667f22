"""The training child as a process: kept warm, killed with all its kin, its death told in words."""

import asyncio
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from headwater_agent.core.policy import Floor
from headwater_agent.edges import children
from headwater_agent.edges.children import Child, WarmWorker, warm_worker
from headwater_agent.edges.enclosure import Enclosure, View
from headwater_agent.ports import Died
from headwater_agent.training.protocol import (
    Check,
    Checked,
    DatasetConfig,
    Inspect,
    Job,
    Protect,
    Refused,
    Stepped,
    Stopped,
    Train,
)
from headwater_wire.messages import Plan

from tests.fakes import agent_worker
from tests.fakes.agent_home import until

JOB = Check("a", "b", 0.1)
TRAIN = Train("t1", "m", (), "b", "d", DatasetConfig("n", "npz", "p", ()), Plan())


def command(*deeds: str) -> tuple[str, ...]:
    """Say how the scripted child is started."""
    return (sys.executable, str(Path(agent_worker.__file__)), *deeds)


async def pid_and_nice(worker: WarmWorker, job: Job = TRAIN) -> tuple[int, int]:
    """Ask a child who it is."""
    reply = await worker.run(job, lambda step: None)
    assert isinstance(reply, Checked)
    pid, nice = reply.problem.split()
    return int(pid), int(nice)


def alive(pid: int) -> bool:
    """Say whether a process is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_one_child_does_many_jobs_and_steps_are_told() -> None:
    """Those that train: it is kept warm, and nice."""
    steps: list[Stepped] = []
    async with warm_worker(command("ok"), idle_s=60, nice=7) as worker:
        first, nice = await pid_and_nice(worker)
        await worker.run(TRAIN, steps.append)
        assert (await pid_and_nice(worker))[0] == first
    assert nice == 7
    assert steps == [Stepped(1, 2, 0.5)]
    assert not alive(first), "no child outlives the context"


async def test_a_child_that_was_started_in_vain_is_let_go() -> None:
    """Its training was interrupted meanwhile: it is as idle as any."""
    async with warm_worker(command("ok"), idle_s=0.05, nice=0) as worker:
        training = asyncio.create_task(worker.run(TRAIN, lambda step: None))
        await asyncio.sleep(0)
        worker.interrupt()
        assert await training == Stopped()
        await until(lambda: worker._child is None, "the end of the idle child")


async def test_an_idle_child_is_let_go() -> None:
    """After its time; the next job has another one."""
    async with warm_worker(command("ok"), idle_s=0.05, nice=0) as worker:
        first, _ = await pid_and_nice(worker)
        await until(lambda: not alive(first), "the end of the idle child")
        assert (await pid_and_nice(worker))[0] != first


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("exit", "exit code 3; its last words: about to fail"),
        ("kill", r"ended by SIGKILL \(out of memory\?\)"),
        ("nonsense", "talks nonsense"),
        ("echo", "answered with a job"),
        ("long", "talks nonsense"),
    ],
)
async def test_a_death_is_told_in_words_and_the_next_child_works(deed: str, words: str) -> None:
    """Whatever it did, the agent lives on."""
    async with warm_worker(command(deed), idle_s=60, nice=0) as worker:
        for _ in range(2):
            with pytest.raises(Died, match=words) as caught:
                await worker.run(JOB, lambda step: None)
            assert caught.value.code == {"exit": 3, "kill": -signal.SIGKILL}.get(deed)


async def test_a_child_that_cannot_be_started_died() -> None:
    """An installation without Python, say."""
    async with warm_worker(("/nowhere/python",), idle_s=60, nice=0) as worker:
        with pytest.raises(Died, match="can't be started"):
            await worker.run(JOB, lambda step: None)


async def test_cancelling_kills_the_child_and_its_kin() -> None:
    """Within moments, however deep it is in its work."""
    async with warm_worker(command("ok", "hang", "ok"), idle_s=60, nice=0) as worker:
        pid, _ = await pid_and_nice(worker)
        running = asyncio.create_task(worker.run(TRAIN, lambda step: None))
        await until(lambda: len(kin(pid)) == 2, "the grandchild")
        running.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([running])
        assert running.cancelled()
        assert not alive(pid)
        await until(lambda: not kin(pid), "the end of the grandchild")
        assert (await pid_and_nice(worker))[0] != pid


def kin(group: int) -> list[int]:
    """List the living members of a process group."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] != "Z":
                    found.append(int(path.name))
    return found


@pytest.mark.parametrize("job", [JOB, Inspect(TRAIN.dataset), Protect("d", "p", 1, "f32", Floor(clip_norm=1.0))])
async def test_only_trainings_share_a_child(job: Job) -> None:
    """Whoever took over the one that opens graphs is not there when a delta is protected, or data counted."""
    async with warm_worker(command("ok"), idle_s=60, nice=0) as worker:
        training, _ = await pid_and_nice(worker)
        alone, nice = await pid_and_nice(worker, job)
        assert alone != training and nice == 0 and not alive(alone)
        assert (await pid_and_nice(worker, job))[0] != alone
        assert (await pid_and_nice(worker))[0] == training


async def test_a_check_need_not_wait_for_a_training() -> None:
    """A second child does it, and ends."""
    async with warm_worker(command("hang"), idle_s=60, nice=0) as worker:
        training = asyncio.create_task(worker.run(TRAIN, lambda step: None))
        await until(lambda: worker._child is not None and worker._child.alive, "the training")
        worker._command = command("ok")
        beside, _ = await pid_and_nice(worker, JOB)
        assert isinstance(await worker.run(Inspect(TRAIN.dataset), lambda step: None), Checked)
        assert not alive(beside)
        training.cancel()
        await asyncio.wait([training])


async def test_one_that_does_not_die_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A driver holds it in the kernel, perhaps: the agent goes on, and can stop."""
    monkeypatch.setattr(children, "_DEATH_S", 0.01)
    child = await Child.start(command("hang"), 0)
    dies = child._process.wait
    monkeypatch.setattr(child._process, "wait", asyncio.Event().wait)
    await child.kill()
    assert "has not ended after 0.01 s" in caplog.text
    assert await dies() == -signal.SIGKILL


@pytest.mark.parametrize("job", [TRAIN, JOB])
async def test_a_storage_that_does_not_answer_refuses_the_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another box does it, and nothing that is asked for later waits."""
    monkeypatch.setattr(children, "_LOOK_S", 0.01)
    answers = threading.Event()

    class Silent(Enclosure):
        def view(self, job: Job) -> View:
            answers.wait()
            return View((), ())

    async with warm_worker(command("ok"), idle_s=60, nice=0, enclosure=Silent("off")) as worker:
        reply = await worker.run(job, lambda step: None)
        assert isinstance(reply, Refused) and "storage does not answer" in reply.reason
        answers.set()
        monkeypatch.undo()
        assert isinstance(await worker.run(job, lambda step: None), Checked)


async def test_a_refused_job_keeps_no_idle_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is let go all the same."""
    monkeypatch.setattr(children, "_LOOK_S", 0.2)
    answers = threading.Event()
    answers.set()

    class Fickle(Enclosure):
        def view(self, job: Job) -> View:
            answers.wait()
            return View((), ())

    async with warm_worker(command("ok"), idle_s=0.5, nice=0, enclosure=Fickle("off")) as worker:
        pid, _ = await pid_and_nice(worker)
        answers.clear()
        assert isinstance(await worker.run(TRAIN, lambda step: None), Refused)
        answers.set()
        await until(lambda: not alive(pid), "it is let go")


async def test_what_it_says_on_stderr_is_logged_within_bounds(caplog: pytest.LogCaptureFixture) -> None:
    """A line of megabytes neither blocks the child nor fills the disk."""
    caplog.set_level(logging.INFO)
    async with warm_worker(command("shout"), idle_s=60, nice=0) as worker:
        await worker.run(JOB, lambda step: None)
    async with warm_worker(command("exit"), idle_s=60, nice=0) as worker:
        with pytest.raises(Died):
            await worker.run(JOB, lambda step: None)
    assert any("about to fail" in record.getMessage() for record in caplog.records)
    assert max(len(record.getMessage()) for record in caplog.records) < 2100


async def test_it_does_not_outlive_a_stop_in_mid_work() -> None:
    """Leaving the context kills it."""
    async with warm_worker(command("hang"), idle_s=60, nice=0) as worker:
        training = asyncio.create_task(worker.run(TRAIN, lambda step: None))
        await until(lambda: worker._child is not None, "the child")
        assert worker._child is not None
        pid = worker._child._process.pid
        training.cancel()
    assert not alive(pid)
    await asyncio.wait([training])
