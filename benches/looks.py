"""What looking at a round costs: the processor time of a round, per task, with 1000 devices against with 10.

Store, coordinator and use cases are real; devices, blobs and merge are fakes, so that the rest costs little.
"""

import asyncio
import gc
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headwater_control.core.runs import RoundState, RunSpec
from headwater_control.edges import ca
from headwater_control.edges.clock import SystemClock, SystemIds
from headwater_control.edges.keyring import Keyring
from headwater_control.edges.store import open_store
from headwater_control.service import runs
from headwater_control.service.bells import Bells
from headwater_control.service.coordinator import Coordinator
from headwater_control.service.world import Settings, World
from headwater_wire.ids import RunId

from tests.fakes.memory_blobs import MemoryBlobs
from tests.fakes.offload import FakeOffload
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import MODEL, Box, import_digits

MANY, FEW = 1000, 10
ROUNDS_OF_FEW = 15
WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class _Cost:
    cpu_s: float
    wall_s: float
    closing_s: float  # from the last delta to the next round


async def _ask(world: World, run: RunId, number: int) -> tuple[str, ...]:
    """Wait until a round collects; name whom it asked."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            async with world.store.read() as tx:
                record = await tx.runs.round(run, number)
                if record is not None and record.state is RoundState.COLLECTING:
                    return tuple(task.device for task in await tx.tasks.of_round(run, number))
            await asyncio.sleep(0.001)


async def _measure(folder: Path, devices: int, rounds: int) -> list[_Cost]:
    clock = SystemClock()
    async with open_store(f"sqlite:///{folder / 'headwater.db'}") as store:
        world = World(
            store=store,
            blobs=MemoryBlobs(folder),
            offload=FakeOffload(),
            publisher=FakePublisher(),
            clock=clock,
            ids=SystemIds(),
            issuer=ca.embedded(folder / "ca", clock.now()),
            keyring=Keyring(folder / "keys", clock.now()),
            bells=Bells(clock),
            settings=Settings(work_dir=folder / "work"),
        )
        await import_digits(world, folder)
        boxes = {f"box-{number:04d}": Box(world, f"box-{number:04d}") for number in range(devices)}
        for box in boxes.values():
            await box.register()
        coordinating = asyncio.create_task(Coordinator(world, "bench").run(), name="bench.coordinator")
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=rounds, over_select=1.0))
        costs = [await _round(world, run.id, number, boxes) for number in range(1, rounds + 1)]
        coordinating.cancel()
        with suppress(asyncio.CancelledError):
            await coordinating
    return costs


async def _round(world: World, run: RunId, number: int, boxes: dict[str, Box]) -> _Cost:
    """Let every device that is asked deliver, one after the other."""
    asked = await _ask(world, run, number)
    gc.collect()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for device in asked:
        await boxes[device].work()
    delivered_s = time.perf_counter()
    while True:
        async with world.store.read() as tx:
            record = await tx.runs.round(run, number)
        if record is not None and record.state.final:
            break
        await asyncio.sleep(0)
    ended_s = time.perf_counter()
    return _Cost(time.process_time() - cpu_s, ended_s - began_s, ended_s - delivered_s)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        for folder in (few_folder := Path(name) / "few", many_folder := Path(name) / "many"):
            folder.mkdir()
        few = asyncio.run(_measure(few_folder, FEW, ROUNDS_OF_FEW))[1:]
        (many,) = asyncio.run(_measure(many_folder, MANY, 1))
    few_s = statistics.median(cost.cpu_s for cost in few) / FEW
    many_s = many.cpu_s / MANY
    print(
        f"processor time of a round, per task: {many_s * 1e3:.1f} ms with {MANY} devices, {few_s * 1e3:.1f} ms with "
        f"{FEW}: × {many_s / few_s:.2f} (a round of {MANY} takes {many.wall_s:.1f} s)"
    )
    closing_s = statistics.median(cost.closing_s for cost in few)
    print(f"last delta to the round's end: {closing_s * 1e3:.0f} ms with {FEW}, {many.closing_s:.2f} s with {MANY}")


if __name__ == "__main__":
    main()
