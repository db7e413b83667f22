"""How often a round is looked at, in virtual time: the cost of looking must not grow with the fleet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headwater_control.core.fleet import Device
from headwater_control.core.runs import RoundState, RunSpec
from headwater_control.ports import Labels
from headwater_control.service import runs

from tests.control_plane.service.coordinating import coordinating
from tests.fakes.clock import FakeClock, settle
from tests.fakes.memory_store import MemoryDevices, MemoryStore, MemoryTransaction
from tests.fakes.world import MODEL, Box, fake_world, import_digits


class LookedAt(MemoryStore):
    """Counts how often a round was looked at; each look takes `look_s` of virtual time."""

    def __init__(self, clock: FakeClock, look_s: float = 0.0) -> None:
        super().__init__()
        self.looks = 0
        self._clock = clock
        self._look_s = look_s

    @asynccontextmanager
    async def read(self) -> AsyncIterator[MemoryTransaction]:
        """Open a view."""
        async with super().read() as tx:
            tx.devices = _LookedAtDevices(tx, self)
            yield tx

    async def look(self) -> None:
        """Take the time of a look."""
        self.looks += 1
        await self._clock.sleep(self._look_s)


class _LookedAtDevices(MemoryDevices):
    """The fleet: only looks list a cohort in a read()."""

    def __init__(self, tx: MemoryTransaction, store: LookedAt) -> None:
        super().__init__(tx._tables)
        self._store = store

    async def matching(self, labels: Labels = ()) -> tuple[Device, ...]:
        """List, which is what takes long."""
        await self._store.look()
        return await super().matching(labels)


async def test_a_report_that_changes_nothing_costs_no_look(
    tmp_path: Path,
) -> None:
    """A round is looked at a few times, not once for each of its deltas; the last one closes it at once."""
    clock = FakeClock()
    store = LookedAt(clock)
    world = fake_world(tmp_path, clock=clock, store=store)
    await import_digits(world, tmp_path)
    boxes = [await Box(world, f"box-{number:02d}").register() for number in range(40)]
    async with coordinating(world):
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1, over_select=1.0))
        await settle()
        before = store.looks
        for box in boxes:
            await box.work()
            await settle()
        await settle()
        assert (await runs.show_run(world, run.id)).rounds[0].round.state is RoundState.COMMITTED
        assert store.looks - before <= 6


async def test_a_busy_fleet_is_looked_at_a_tenth_of_the_time(
    tmp_path: Path,
) -> None:
    """A thousand devices that come and go must not keep the loop from anything else."""
    clock = FakeClock()
    store = LookedAt(clock, look_s=0.05)
    world = fake_world(tmp_path, clock=clock, store=store)
    await import_digits(world, tmp_path)
    await Box(world, "box-0").register()
    async with coordinating(world):
        await clock.advance(1)
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
        await clock.advance(1)
        before = store.looks
        for _ in range(1000):
            world.bells.ring_fleet()
            await clock.advance(0.01)
        assert 10 <= store.looks - before <= 21  # of 0.05 s each, in 10 s
        assert (await runs.show_run(world, run.id)).rounds[0].round.state is RoundState.COLLECTING
