"""From commands to events: what is asked of which edge, and what each kind of trouble becomes."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.ports import Died, Unavailable
from headwater_agent.training import heads, protocol
from headwater_agent.training.protocol import Broke, Checked, Refused
from headwater_agent.trainings import PAUSE_S
from headwater_wire import digests
from headwater_wire.ids import Digest, TaskId
from headwater_wire.messages import (
    Phase,
    Plan,
    Progress,
    SyncAnswer,
)

from tests.fakes.agent_bench import DELTA, DONE, Bench
from tests.fakes.agent_home import until
from tests.fakes.agent_world import METRICS
from tests.fakes.leaping import in_virtual_time

NOTHING = Progress(TaskId("none"), Phase.ACCEPTED)


async def test_fetching_brings_what_the_engine_reads_and_drops_the_rest(bench: Bench) -> None:
    """The manifest names the graphs; what other tasks need is kept."""
    bench.needed = frozenset({Digest("f" * 64)})
    assert await bench.effects.perform(do.Fetch(bench.task)) == on.Fetched(bench.task.id)
    assert bench.needed < bench.cache.pruned[0] and len(bench.cache.pruned[0]) == 5


async def test_a_server_away_is_waited_for(bench: Bench) -> None:
    """With pauses, and with the reason where people look."""
    bench.cache.troubles = [Unavailable("UNAVAILABLE: no route"), Unavailable("busy", 0.01)]
    assert await bench.effects.perform(do.Fetch(bench.task)) == on.Fetched(bench.task.id)


@pytest.mark.parametrize(("wish_s", "phase"), [(None, Phase.FETCHING), (60.0, Phase.ACCEPTED)])
async def test_the_reason_for_waiting_is_shown(bench: Bench, wish_s: float | None, phase: Phase) -> None:
    """A heartbeat tells it; who was told to come back later does not seem to fetch, and so isn't given up."""
    bench.effects.patience.chance = lambda: 1.0
    bench.cache.troubles = [Unavailable("UNAVAILABLE: no route", wish_s) for _ in range(9)]
    fetching = asyncio.create_task(bench.effects.perform(do.Fetch(bench.task)))
    live = bench.effects.live
    await until(lambda: bench.task.id in live and live[bench.task.id].waiting_for, "the reason")
    shown = live[bench.task.id]
    assert (shown.phase, shown.waiting_for) == (phase, "the control plane: UNAVAILABLE: no route")
    fetching.cancel()
    await asyncio.wait([fetching])
    assert bench.effects.live == {}


async def test_what_is_not_waited_for_any_more_is_not_shown(bench: Bench) -> None:
    """The fetch that was put off goes on as a fetch."""
    bench.cache.troubles = [Unavailable("busy", 0.01)]
    shown: list[Progress] = []
    bench.cache.asked = lambda: shown.append(bench.effects.live[bench.task.id])
    await bench.effects.perform(do.Fetch(bench.task))
    assert shown == 5 * [Progress(bench.task.id, Phase.FETCHING)]


@pytest.mark.parametrize("missing", ["bundle", "base"])
async def test_what_is_gone_fails_the_fetch(bench: Bench, missing: str) -> None:
    """With a reason."""
    del bench.cache.blobs[getattr(bench.task, missing).digest]
    event = await bench.effects.perform(do.Fetch(bench.task))
    assert isinstance(event, on.FetchFailed) and "does not have" in event.reason


@pytest.mark.parametrize("damaged", ["bundle", "base"])
async def test_what_keeps_coming_damaged_fails_the_fetch(bench: Bench, damaged: str) -> None:
    """After a few whole downloads, with a reason: the control plane's disk won't mend while a fleet fetches on."""
    bench.effects.patience.chance = lambda: 0.0
    bench.cache.blobs[getattr(bench.task, damaged).digest] = b"with a flipped bit"
    event = await bench.effects.perform(do.Fetch(bench.task))
    assert isinstance(event, on.FetchFailed) and "another SHA-256, 5 times in a row" in event.reason


async def test_a_manifest_that_is_none_fails_the_fetch(bench: Bench) -> None:
    """The control plane is of another version, or worse."""
    task = replace(bench.task, bundle=bench.cache.put(b"{}"))
    event = await bench.effects.perform(do.Fetch(task))
    assert isinstance(event, on.FetchFailed) and "manifest" in event.reason


async def test_training_spools_the_delta(bench: Bench) -> None:
    """What the worker wrote lies in the spool before anybody is told."""
    bench.worker.replies = [DONE]
    event = await bench.effects.perform(do.Train(bench.task, 2))
    assert event == on.Trained(bench.task.id, 2, digests.of_bytes(DELTA), METRICS)
    assert bench.spool.held[bench.task.id].read_bytes() == DELTA
    assert not [path for path in bench.spool.work if path.exists()]


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Refused("no column x"), on.TrainingRefused, "no column x"),
        (Broke("the loss is NaN"), on.TrainingBroke, "the loss is NaN"),
        (Died("SIGKILL"), on.WorkerDied, "SIGKILL"),
        (protocol.Trained(METRICS, digests.of_bytes(b"another")), on.TrainingBroke, "announced"),
        (protocol.Trained(METRICS, None), on.TrainingBroke, "answered with Trained"),
        (Checked(""), on.TrainingBroke, "answered with Checked"),
    ],
)
async def test_each_end_of_a_training_has_its_event(
    bench: Bench, reply: protocol.Reply | Exception, kind: type, words: str
) -> None:
    """And the half-written delta is deleted."""
    bench.worker.replies = [reply]
    event = await bench.effects.perform(do.Train(bench.task, 1))
    assert isinstance(event, kind) and words in str(event)
    assert not [path for path in bench.spool.work if path.exists()]
    assert bench.effects.live == {}


async def test_scoring_has_no_delta(bench: Bench) -> None:
    """A plan that only scores ends in metrics; a delta nobody asked for is none."""
    scoring = replace(bench.task, plan=Plan(train=False))
    bench.worker.replies = [protocol.Trained(METRICS, None), DONE]
    assert await bench.effects.perform(do.Train(scoring, 1)) == on.Scored(scoring.id, 1, METRICS)
    assert isinstance(await bench.effects.perform(do.Train(scoring, 1)), on.TrainingBroke)


async def test_cancelling_a_training_ends_the_worker(bench: Bench) -> None:
    """StopTraining is that, and no event comes of it."""
    bench.worker.replies = [None]
    training = asyncio.create_task(bench.effects.perform(do.Train(bench.task, 1)))
    await until(lambda: bench.effects.live.get(bench.task.id, NOTHING).steps, "a step")
    assert bench.effects.live[bench.task.id].loss == 0.5
    training.cancel()
    await asyncio.wait([training])
    assert bench.worker.killed == 1 and bench.effects.live == {}


async def test_a_training_that_is_asked_to_stop_goes_on_later(bench: Bench) -> None:
    """From its checkpoints, whose folder is the same for each attempt; nothing is half done."""
    bench.worker.replies = [None, DONE]
    training = asyncio.create_task(bench.effects.perform(do.Train(bench.task, 1)))
    await until(lambda: bench.effects.live.get(bench.task.id, NOTHING).steps, "a step")
    kept = bench.spool.checkpoints(bench.task.id)
    kept.mkdir()
    assert await bench.effects.perform(do.PauseTraining(bench.task.id)) is None
    assert await training == on.Paused(bench.task.id, 1) and bench.worker.killed == 0 and kept.exists()
    assert isinstance(await bench.effects.perform(do.Train(bench.task, 2)), on.Trained)
    assert not kept.exists() and bench.effects.live == {}
    folders = [
        job.checkpoints and job.checkpoints.folder for job in bench.worker.jobs if isinstance(job, protocol.Train)
    ]
    assert folders == 2 * [str(kept)]
    assert await bench.effects.perform(do.PauseTraining(bench.task.id)) is None, "of what does not train: nothing"


async def test_a_training_paused_before_it_began_is_not_begun(bench: Bench) -> None:
    """It was still waiting for what it needs."""
    bench.cache.gate.close()
    training = asyncio.create_task(bench.effects.perform(do.Train(bench.task, 1)))
    await bench.cache.gate.reached.wait()
    await bench.effects.perform(do.PauseTraining(bench.task.id))
    bench.cache.gate.open()
    assert await training == on.Paused(bench.task.id, 1) and bench.worker.jobs == []


@pytest.mark.parametrize("reply", [Refused("no column x"), Broke("the loss is NaN"), protocol.Trained(METRICS, None)])
async def test_what_has_ended_for_good_leaves_no_checkpoints(bench: Bench, reply: protocol.Reply) -> None:
    """Refused, broken or scored."""
    bench.worker.replies = [Died("SIGKILL"), reply]
    kept = bench.spool.checkpoints(bench.task.id)
    kept.mkdir()
    task = replace(bench.task, plan=replace(bench.task.plan, train=not isinstance(reply, protocol.Trained)))
    assert isinstance(await bench.effects.perform(do.Train(task, 1)), on.WorkerDied) and kept.exists()
    await bench.effects.perform(do.Train(task, 2))
    assert not kept.exists()


def test_a_worker_that_does_not_stop_is_ended(tmp_path: Path) -> None:
    """After half a minute, which counts as a death; one that dies of the wish itself has stopped in good order."""

    async def paused(worker: StubbornWorker) -> tuple[on.Event | None, float]:
        bench = Bench(tmp_path)
        bench.effects.trainings.worker = worker
        training = asyncio.create_task(bench.effects.perform(do.Train(bench.task, 1)))
        await worker.running.wait()
        await bench.effects.perform(do.PauseTraining(bench.task.id))
        return await training, asyncio.get_running_loop().time()

    for dies_of, limit_s, kind in (
        (None, PAUSE_S, on.WorkerDied),
        (signal.SIGTERM, 0.0, on.Paused),
        (signal.SIGKILL, 0.0, on.WorkerDied),
    ):
        event, took_s = in_virtual_time(paused(StubbornWorker(dies_of)))
        assert isinstance(event, kind) and took_s == pytest.approx(limit_s, abs=1.0)


async def test_a_death_tells_how_far_the_training_had_come(bench: Bench) -> None:
    """By the head of its newest checkpoint."""
    kept = bench.spool.checkpoints(bench.task.id)
    kept.mkdir()
    (kept / "1").write_bytes(heads.dump({"place": {"steps": 40}}))
    bench.worker.replies = [Died("SIGKILL")]
    assert await bench.effects.perform(do.Train(bench.task, 1)) == on.WorkerDied(bench.task.id, 1, "SIGKILL", 40)


@dataclass
class StubbornWorker:
    """A child that never answers, or dies when it is asked to stop."""

    dies_of: signal.Signals | None
    running: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, job: protocol.Job, on_step: Callable[[protocol.Stepped], None]) -> protocol.Reply:
        """Begin."""
        self.running.set()
        await self.asked.wait()
        assert self.dies_of, "somebody has asked"
        raise Died("it was ended", -self.dies_of)

    def interrupt(self) -> None:
        """Hear it, or not."""
        if self.dies_of:
            self.asked.set()


async def test_a_nudge_ends_the_pauses(bench: Bench) -> None:
    """When a Sync was answered, an upload need not sleep on: these pauses are a quarter of a minute long."""
    bench.effects.patience.chance = lambda: 1.0
    bench.uplink.answers = [*(6 * [Unavailable("x")]), SyncAnswer(7, 1, 1, False, (), (), 30)]
    syncing = asyncio.create_task(bench.effects.perform(do.Sync()))
    async with asyncio.timeout(10):
        while not syncing.done():
            await asyncio.sleep(0.01)
            bench.effects.nudge()
    assert isinstance(syncing.result(), on.Synced)


async def test_a_box_below_the_known_epoch_jumps_past(bench: Bench) -> None:
    """And connects anew; one that isn't stays."""
    bench.uplink.answers = [SyncAnswer(7, 1, 41, False, (), (), 30), SyncAnswer(7, 1, 1, False, (), (), 30)]
    event = await bench.effects.perform(do.Sync())
    assert isinstance(event, on.Synced) and event.request.revision == 7
    assert (bench.link.renewed, await bench.journal.next_epoch()) == (1, 42)
    await bench.effects.perform(do.Sync())
    assert bench.link.renewed == 1


async def test_stopping_discards_what_was_spooled_a_moment_before(bench: Bench) -> None:
    """The machine has ended the task before it heard of the delta: nobody else would delete it."""
    bench.worker.replies = [DONE]
    await bench.effects.perform(do.Train(bench.task, 1))
    await bench.effects.perform(do.StopTraining(bench.task.id))
    assert bench.spool.held == {}


async def test_small_commands(bench: Bench) -> None:
    """Announce and Discard."""
    assert await bench.effects.perform(do.Announce()) is None
    assert await bench.effects.perform(do.Discard(TaskId("t1"))) is None
    assert bench.link.announced == 1
