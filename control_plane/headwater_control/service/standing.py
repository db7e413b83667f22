"""Use cases around who may be in the fleet: shut a device out, and let it in again."""

from dataclasses import replace
from datetime import datetime

from headwater_wire.ids import DeviceId, RunId

from headwater_control.core.audit import deed
from headwater_control.core.identity import Certificate, Standing
from headwater_control.core.runs import RoundState, RunState, TaskState
from headwater_control.ports import Transaction
from headwater_control.service.authority import must_reach
from headwater_control.service.errors import Conflict, NotFound
from headwater_control.service.work import Work, work
from headwater_control.service.world import World


async def disable(world: World, device: DeviceId, reason: str) -> Standing:
    """Shut a device out now: its connections end, its tasks too, and what it sent for a round that still collects.

    What is being merged already is merged. Raises `NotFound`, or `Conflict` if it is shut out already.
    """
    now = world.clock.now()
    why = f"its device was disabled: {reason}" if reason else "its device was disabled"
    async with work(world) as unit:
        before = await _standing(unit.tx, device)
        if before.disabled_at is not None:
            raise Conflict(f"device {device} is disabled already, since {before.disabled_at:%Y-%m-%d %H:%M:%S} UTC")
        after = replace(before, disabled_at=now, reason=reason)
        await unit.tx.members.save(after)
        await _drop_deltas(unit, device, why, now)
        for task in await unit.tx.tasks.open_of(device):
            if await unit.tx.tasks.close(task.id, TaskState.CANCELLED, at=now, reason=why):
                unit.rung.add(task.run)
        if (known := await unit.tx.devices.get(device, lock=True)) is not None and known.online:
            await unit.tx.devices.save(replace(known, online=False, presence_at=now))
        unit.fleet_changed = True
        unit.deeds.append(deed("device.disable", device, before, after))
    await world.roll.look_soon(world.store, now)
    return after


async def enable(world: World, device: DeviceId) -> Standing:
    """Let a device in again, with the certificate it has; raise `NotFound`, or `Conflict` if it is not shut out."""
    async with work(world) as unit:
        before = await _standing(unit.tx, device)
        if before.disabled_at is None:
            raise Conflict(f"device {device} is not disabled")
        after = replace(before, disabled_at=None, reason="")
        await unit.tx.members.save(after)
        unit.deeds.append(deed("device.enable", device, before, after))
    await world.roll.look_soon(world.store, world.clock.now())
    return after


async def certificates(world: World, device: DeviceId) -> tuple[Certificate, ...]:
    """List a device's certificates, newest first."""
    async with world.store.read() as tx:
        return await tx.members.certificates(device)


async def _standing(tx: Transaction, device: DeviceId) -> Standing:
    """Read and lock a device's standing; one that registered without enrolling (on loopback) has one from now on."""
    standing = await tx.members.standing(device, lock=True)
    known = await tx.devices.get(device)
    must_reach(known.labels if known else standing.labels if standing else (), f"device {device} is not among those")
    if standing is not None:
        return standing
    if known is None:
        raise NotFound(f"there is no device {device[:80]!r}: `headwater device list` shows those there are")
    return Standing(device, known.registered_at)


async def _drop_deltas(unit: Work, device: DeviceId, why: str, now: datetime) -> None:
    """Forget what a device sent for rounds that still collect."""
    for run in sorted(await unit.tx.runs.all((RunState.RUNNING, RunState.PAUSED)), key=lambda run: run.id):
        await unit.tx.runs.get(RunId(run.id), lock=True)
        record = await unit.tx.runs.round(run.id, run.round, lock=True)
        if record is None or record.state is not RoundState.COLLECTING:
            continue
        for task in await unit.tx.tasks.of_round(run.id, run.round):
            if task.device == device and await unit.tx.tasks.drop(task.id, at=now, reason=why):
                unit.rung.add(run.id)
