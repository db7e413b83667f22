"""A box's training child: it takes its time, leaves checkpoints, draws a delta, and dies now and then."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from headwater_agent.core.shares import shares
from headwater_agent.ports import Died
from headwater_agent.training import protocol
from headwater_agent.training.checkpoint import Place
from headwater_agent.training.engine import Score, State
from headwater_agent.training.errors import Interrupted
from headwater_agent.training.heads import NAMES, newest_step
from headwater_agent.training.keeper import Keeper
from headwater_wire import digests
from headwater_wire.messages import Blob, Metrics

from tests.simulation import model
from tests.simulation.disk import Disk
from tests.simulation.loop import Crashed, Process
from tests.simulation.records import Records
from tests.simulation.rules import Rules
from tests.simulation.surroundings import Surroundings
from tests.simulation.weather import Fate

_SCORE = Score(2.8, 3)


@dataclass
class SimulatedWorker:
    """The `Worker` port. `cursed`: whatever trains there kills it, as a model that is too large would.

    `brittle`: the box's supply can't bear a training.
    """

    fate: Fate
    records: Records
    rules: Rules
    place: Surroundings
    disk: Disk
    process: Process
    step_s: float
    cursed: bool
    brittle: bool
    _interrupted: bool = False

    def interrupt(self) -> None:
        """Have a training stop at its next step; that is no attempt."""
        self._interrupted = True

    async def run(self, job: protocol.Job, on_step: Callable[[protocol.Stepped], None]) -> protocol.Reply:
        """Do one job."""
        match job:
            case protocol.Inspect():
                await asyncio.sleep(self.step_s)
                return protocol.Inspected(model.card(self.place.examples))
            case protocol.Check(onnx_path, reference_path):
                await self._take_time()
                return protocol.Checked(await asyncio.to_thread(_compared, Path(onnx_path), Path(reference_path)))
            case protocol.Train():
                return await self._begin(job, on_step)
            case protocol.Protect():
                raise NotImplementedError("no simulated box has a floor")

    async def _begin(self, job: protocol.Train, on_step: Callable[[protocol.Stepped], None]) -> protocol.Reply:
        box = self.process.name
        self.rules.begins(job.task)
        self.records.begins(box, job, self.place.fingerprint)
        self._interrupted = False
        tries = self.records.diary(box).tries
        try:
            return await self._train(job, on_step)
        except Interrupted:
            tries.stops(job.task)
            return protocol.Stopped()
        except (Died, asyncio.CancelledError):
            if self.process.alive:
                tries.cut_short(lambda task: step_of(self.disk, task))
            raise

    async def _train(self, job: protocol.Train, on_step: Callable[[protocol.Stepped], None]) -> protocol.Reply:
        box, counts = self.process.name, tuple(self.place.counts)
        trained, scored = shares(counts[-1], job.plan.holdout)
        if job.plan.train and not trained:
            return protocol.Refused("its held-out share leaves none to train on")
        kept = job.checkpoints if job.plan.train else None
        of = f"{box} {job.task} {self.place.fingerprint}"
        keeper, numbers = Keeper(kept, of, lambda: self._interrupted, self._clock), _Numbers(of)
        steps = 1 + digests.of_bytes(f"{box} {job.task}".encode()).digest.encode()[0] % 6
        for step in range(1 + self._recalled(keeper, numbers, job), steps + 1):
            await self._take_time(kept)
            self.rules.goes_on(job.task)
            on_step(protocol.Stepped(step, steps, 0.5))
            if self.brittle and self.fate.strikes(0.5):
                self.process.kill()
                raise Crashed
            numbers.step = step
            keeper.passed(Place(step, 0.5 * step, _SCORE, 1.0), cast("Any", numbers))
            if kept:
                self._check_safe(job, step)
        if self.cursed:
            raise Died("signal 9: out of memory")
        metrics = Metrics(trained, 0.5, scored, 0.7, min(3, scored), seconds=1.0)
        if not job.plan.train:
            return protocol.Trained(replace(metrics, examples=0), None)
        vector = model.drawn(of, str(job.plan.seed))
        delta = await asyncio.to_thread(_write, job, vector)
        self.records.trained(box, delta.digest, vector, {min(trained, shares(n, job.plan.holdout)[0]) for n in counts})
        return protocol.Trained(metrics, delta)

    def _clock(self) -> float:
        return self.process.local_s(self.records.history.loop.now_s)

    def _recalled(self, keeper: Keeper, numbers: "_Numbers", job: protocol.Train) -> int:
        """Go on from a checkpoint, if there is one: it holds what this very training had reached."""
        recalled = keeper.recall()
        if recalled is None:
            return 0
        place, state = recalled
        numbers.step = place.steps
        same = all(np.array_equal(values, state[name]) for name, values in numbers.state().items())
        self.records.history.promise(same, "checkpoint", f"{job.task} goes on from another training's numbers")
        self.records.history.note(self.process.name, f"goes on with {job.task} after step {place.steps}")
        return place.steps

    def _check_safe(self, job: protocol.Train, step: int) -> None:
        """A checkpoint that was written outlasts a power loss; a disk that fails may leave one that does not."""
        folder = checkpoints(self.disk, job.task)
        if not self.fate.weather.disk and newest_step(folder) == step:
            safe = all(self.disk.safe(path) for path in folder.iterdir() if path.name in NAMES)
            self.records.history.promise(safe, "checkpoint", f"that of {job.task} at step {step} is not on disk")

    async def _take_time(self, kept: protocol.Checkpoints | None = None) -> None:
        await asyncio.sleep(self.step_s * (0.5 + self.fate.chance.random()))
        if self.fate.strikes(self.fate.weather.sick / 4):
            if kept and self.fate.strikes(0.3) and (folder := Path(kept.folder)).is_dir():
                (folder / "00000000.part").write_bytes(b"half a checkpoi")
            raise Died("signal 9")


@dataclass
class _Numbers:
    """Of an engine's session what a keeper asks for."""

    of: str
    step: int = 0

    def state(self) -> State:
        """Show what the next step depends upon."""
        return {"w": np.array(model.drawn(self.of, str(self.step)), np.float32)}


def checkpoints(disk: Disk, task: str) -> Path:
    """Name the folder of a task's checkpoints."""
    return disk.files / "work" / f"{task}.checkpoints"


def step_of(disk: Disk, task: str) -> int:
    """Tell how far its newest is."""
    return newest_step(checkpoints(disk, task))


def _write(job: protocol.Train, vector: model.Vector) -> Blob:
    base = Path(job.base_path)
    assert digests.of_file(base).digest == base.name, "the cache gave a base that is not what it says"
    return model.write_delta(Path(job.delta_path), vector)


def _compared(onnx: Path, reference: Path) -> str:
    wanted = b"reference of " + digests.of_file(onnx).digest.encode()
    return "" if reference.read_bytes() == wanted else "its outputs differ from the reference"
