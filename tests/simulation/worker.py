"""A box's training child: it takes its time, draws a delta, and dies now and then."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headwater_agent.ports import Died
from headwater_agent.training import protocol
from headwater_wire import digests
from headwater_wire.messages import Blob, Metrics

from tests.simulation import model
from tests.simulation.records import Records
from tests.simulation.weather import Fate


@dataclass
class SimulatedWorker:
    """The `Worker` port. `cursed`: whatever trains there kills it, as a model that is too large would.

    `collapse` is what training does to a box whose supply can't bear it.
    """

    fate: Fate
    records: Records
    box: str
    examples: int
    step_s: float
    cursed: bool
    collapse: Callable[[], None] | None = None
    _interrupted: bool = False

    def interrupt(self) -> None:
        """Have a training stop at its next step; that is no attempt."""
        self.records.diary(self.box).stops += 1
        self._interrupted = True

    async def run(self, job: protocol.Job, on_step: Callable[[protocol.Stepped], None]) -> protocol.Reply:
        """Do one job."""
        match job:
            case protocol.Inspect():
                await asyncio.sleep(self.step_s)
                return protocol.Inspected(model.card(self.examples))
            case protocol.Check(onnx_path, reference_path):
                await self._take_time()
                return protocol.Checked(await asyncio.to_thread(_compared, Path(onnx_path), Path(reference_path)))
            case protocol.Train():
                return await self._train(job, on_step)

    async def _train(self, job: protocol.Train, on_step: Callable[[protocol.Stepped], None]) -> protocol.Reply:
        self.records.begins(self.box, job)
        self._interrupted = False
        steps = 1 + int(self.fate.chance.random() * 4)
        for step in range(1, steps + 1):
            await self._take_time()
            on_step(protocol.Stepped(step, steps, 0.5))
            if self.collapse:
                self.collapse()
            if self._interrupted:
                return protocol.Stopped()
        if self.cursed:
            raise Died("signal 9: out of memory")
        metrics = Metrics(self.examples, 0.5, 4, 0.7, 3, seconds=1.0)
        if not job.plan.train:
            return protocol.Trained(metrics, None)
        vector = model.drawn(self.box, job.task, str(job.plan.seed))
        delta = await asyncio.to_thread(_train, job, vector)
        self.records.trained(self.box, delta.digest, vector, self.examples)
        return protocol.Trained(metrics, delta)

    async def _take_time(self) -> None:
        await asyncio.sleep(self.step_s * (0.5 + self.fate.chance.random()))
        if self.fate.strikes(self.fate.weather.sick / 4):
            raise Died("signal 9")


def _train(job: protocol.Train, vector: model.Vector) -> Blob:
    base = Path(job.base_path)
    assert digests.of_file(base).digest == base.name, "the cache gave a base that is not what it says"
    return model.write_delta(Path(job.delta_path), vector)


def _compared(onnx: Path, reference: Path) -> str:
    wanted = b"reference of " + digests.of_file(onnx).digest.encode()
    return "" if reference.read_bytes() == wanted else "its outputs differ from the reference"
