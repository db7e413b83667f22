"""Who is shut out, in memory: each handshake looks here, and whoever keeps connections hears of it once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from headwater_control.core.identity import GRACE, Certificate, Standing
from headwater_control.ports import Busy, Store
from headwater_control.service.roll import Roll
from headwater_wire.ids import DeviceId

from tests.fakes.clock import START, FakeClock, settle
from tests.fakes.memory_store import MemoryStore, MemoryTransaction
from tests.support.waiting import until

ONE, TWO = DeviceId("box-1"), DeviceId("box-2")


def heard(roll: Roll) -> tuple[list[DeviceId], list[int]]:
    """Listen to a roll: whom it cuts, and how often it changes."""
    cut: list[DeviceId] = []
    changes: list[int] = []
    roll.on_bar(cut.append)
    roll.on_change(lambda: changes.append(len(changes)))
    return cut, changes


async def bar(store: Store, device: DeviceId, *, out: bool = True) -> None:
    """Shut a device out, or let it in."""
    async with store.write() as tx:
        await tx.members.save(Standing(device, START, disabled_at=START if out else None))


async def revoke(store: Store, device: DeviceId, serial: str) -> None:
    """Issue a certificate, and revoke all that the device has."""
    async with store.write() as tx:
        await tx.members.certify(Certificate(serial, device, "cd", START, START + timedelta(days=90)))
        await tx.members.revoke(device, START)


async def test_each_newly_barred_is_cut_once(store: Store) -> None:
    """A device, or the owner of a certificate; who was barred before is not cut again."""
    roll = Roll()
    cut, changes = heard(roll)
    await bar(store, TWO)
    await roll.look(store, START)
    await roll.look(store, START)
    assert (cut, len(changes)) == ([TWO], 1)
    await bar(store, ONE)
    await revoke(store, TWO, "a1")
    await roll.look(store, START)
    await roll.look(store, START)
    assert (cut, len(changes)) == ([TWO, ONE, TWO], 2)
    assert roll.barred.bars(TWO, "other")


async def test_a_second_revocation_cuts_again(store: Store) -> None:
    """The box came back with another certificate, which is worth nothing now either."""
    roll = Roll()
    cut, _ = heard(roll)
    for serial in ("a1", "b2"):
        await revoke(store, ONE, serial)
        await roll.look(store, START)
    assert cut == [ONE, ONE]
    assert not roll.barred.bars(ONE, "c3")


async def test_who_is_let_in_again_is_told_but_not_cut(store: Store) -> None:
    """Whoever keeps a list elsewhere hears of fewer, too; the next time the device is cut again."""
    roll = Roll()
    cut, changes = heard(roll)
    await bar(store, ONE)
    await roll.look(store, START)
    await bar(store, ONE, out=False)
    await roll.look(store, START)
    assert (cut, len(changes)) == ([ONE], 2)
    assert not roll.barred.bars(ONE, "a1")
    await bar(store, ONE)
    await roll.look(store, START)
    assert cut == [ONE, ONE]


async def test_a_certificate_that_nobody_would_renew_is_forgotten(store: Store) -> None:
    """After its end and the grace, it is refused anyway; the roll does not grow for ever."""
    roll = Roll()
    await revoke(store, ONE, "a1")
    end = START + timedelta(days=90)
    await roll.look(store, end + GRACE)
    assert roll.barred.serials == {"a1"}
    await roll.look(store, end + GRACE + timedelta(seconds=1))
    assert roll.barred.serials == set()


async def test_what_another_replica_decided_is_here_within_a_second(store: Store) -> None:
    """The loop looks each second."""
    clock, roll = FakeClock(), Roll()
    cut, _ = heard(roll)
    loop = asyncio.create_task(roll.keep(store, clock))
    await settle()
    await bar(store, ONE)
    await clock.advance(1.0)
    await until(lambda: bool(cut), "the device is cut off")
    loop.cancel()
    assert cut == [ONE]


class SlowStore(MemoryStore):
    """Holds readers back when they have read, or has no time for them."""

    def __init__(self) -> None:
        super().__init__(5.0)
        self.gates: list[asyncio.Event] = []
        self.busy = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[MemoryTransaction]:
        """Read, and wait."""
        if self.busy:
            raise Busy("come back later")
        async with super().read() as tx:
            yield tx
        if self.gates:
            await self.gates.pop(0).wait()


async def test_a_look_that_began_before_a_decision_does_not_undo_it() -> None:
    """The loop's look reads, the device is disabled and looked at, the former look ends: it stays out, cut once."""
    store, roll = SlowStore(), Roll()
    cut, _ = heard(roll)
    gate = asyncio.Event()
    store.gates.append(gate)
    early = asyncio.create_task(roll.look(store, START))
    await settle()
    await bar(store, ONE)
    late = asyncio.create_task(roll.look(store, START))
    await settle()
    gate.set()
    await asyncio.gather(early, late)
    assert roll.barred.bars(ONE, "a1")
    assert cut == [ONE]


async def test_while_the_store_is_busy_the_last_answer_holds() -> None:
    """The loop goes on, and hears of it when there is time."""
    store, roll, clock = SlowStore(), Roll(), FakeClock()
    cut, _ = heard(roll)
    await bar(store, ONE)
    await roll.look(store, START)
    store.busy = True
    loop = asyncio.create_task(roll.keep(store, clock))
    await clock.advance(3.0)
    assert roll.barred.bars(ONE, "a1")
    store.busy = False
    await bar(store, TWO)
    await clock.advance(1.0)
    loop.cancel()
    assert cut == [ONE, TWO]
