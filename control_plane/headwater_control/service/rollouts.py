"""Use cases around shipping: send a version to the boxes, and see where it is."""

from collections import Counter
from dataclasses import dataclass, replace

from headwater_wire.ids import RolloutId, VersionId

from headwater_control.core.audit import deed
from headwater_control.core.rollout import DeploymentRecord, DeploymentState, Rollout, RolloutState, settled, superseded
from headwater_control.ports import AlreadyExists, Labels, Transaction
from headwater_control.service import models
from headwater_control.service.assignments import spell_deployment
from headwater_control.service.authority import must_reach, sees
from headwater_control.service.deployments import supersede
from headwater_control.service.errors import Conflict, Invalid, NotFound
from headwater_control.service.lookup import find_version
from headwater_control.service.work import Work, work
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout with its deployments, by device, and how many are in which state (all states, zeros too)."""

    rollout: Rollout
    deployments: tuple[DeploymentRecord, ...]
    counts: tuple[tuple[DeploymentState, int], ...]


async def start(world: World, version: VersionId, labels: Labels = ()) -> Rollout:
    """Send a version to every device with `labels`; raise `NotFound`, `Forbidden`, or `Invalid`: no such device."""
    must_reach(labels, "the rollout must be to these labels")
    await models.release(world, version)
    now = world.clock.now()
    try:
        async with work(world) as unit:
            found = await find_version(unit.tx, version)
            reached = [device.id for device in await unit.tx.devices.matching(labels)]
            if not reached:
                wanted = ", ".join(f"{key}={value}" for key, value in labels) or "any label"
                raise Invalid(f"no registered device has {wanted}: `headwater device list` shows their labels")
            devices = await unit.tx.devices.several(reached, lock=True)  # before deployments: docs/adr/0003-store.md
            earlier = await unit.tx.rollouts.all(found.model)
            rollout = Rollout(
                id=RolloutId(world.ids.new("rollout")),
                model=found.model,
                version=version,
                labels=labels,
                generation=1 + max((known.generation for known in earlier), default=0),
                state=RolloutState.RUNNING,
                created_at=now,
            )
            records = [await supersede(unit.tx, device, rollout, now) for device in devices]
            await unit.tx.rollouts.add(rollout, records)
            for record in records:
                unit.deploy(spell_deployment(record, found, world.settings.tolerance))
            unit.deeds.append(deed("rollout.start", rollout.id, None, rollout))
            unit.runs_changed = True  # what this one overtook is to be settled
    except AlreadyExists as error:
        raise Conflict(f"another rollout of {found.model} began at the same time: start this one again") from error
    return rollout


async def show(world: World, rollout: RolloutId) -> RolloutView:
    """Show one; raise `NotFound`."""
    async with world.store.read() as tx:
        found = await _find(tx, rollout)
        if not sees(found.labels):
            raise _none(rollout)
        deployments = await tx.rollouts.deployments(rollout)
    counts = Counter(record.state for record in deployments)
    return RolloutView(
        settled(found, deployments), deployments, tuple((state, counts[state]) for state in DeploymentState)
    )


async def list_rollouts(world: World) -> tuple[Rollout, ...]:
    """List them, oldest first."""
    async with world.store.read() as tx:
        seen = [rollout for rollout in await tx.rollouts.all() if sees(rollout.labels)]
        return tuple([await _by_now(tx, rollout) for rollout in seen])


async def cancel(world: World, rollout: RolloutId) -> Rollout:
    """Stop what has not been installed yet. Raises `NotFound`, or `Conflict` if the rollout has ended otherwise."""
    cancelled = await _cancelled(world, rollout)
    while await _pending(world, rollout):  # of devices that joined it meanwhile
        async with work(world) as unit:
            await _withdraw(world, unit, rollout)
    return cancelled


async def _cancelled(world: World, rollout: RolloutId) -> Rollout:
    async with work(world) as unit:
        found = await _find(unit.tx, rollout)
        must_reach(found.labels, f"rollout {rollout} goes beyond that")
        if found.state is RolloutState.CANCELLED:
            return found
        deployments = await _withdraw(world, unit, rollout)
        if settled(found, deployments).state is not RolloutState.RUNNING:
            raise Conflict(f"rollout {rollout} has completed: roll another version out instead")
        cancelled = replace(found, state=RolloutState.CANCELLED)
        await unit.tx.rollouts.save(cancelled)
        unit.deeds.append(deed("rollout.cancel", rollout, found, cancelled))
    return cancelled


async def _withdraw(world: World, unit: Work, rollout: RolloutId) -> tuple[DeploymentRecord, ...]:
    """Take back what is pending; give the deployments as they were.

    A device may join while the others are waited for. It is not locked, so it is left alone.
    """
    tx, now = unit.tx, world.clock.now()
    reached = {record.device for record in await tx.rollouts.deployments(rollout)}
    locked = await tx.devices.several(reached, lock=True)  # before deployments: docs/adr/0003-store.md
    deployments = await tx.rollouts.deployments(rollout)
    for record in deployments:
        if record.device in locked and (ended := superseded(record, now)) != record:
            await tx.rollouts.save_deployment(ended)
            unit.changed(record.device)
    return deployments


async def _pending(world: World, rollout: RolloutId) -> bool:
    async with world.store.read() as tx:
        return any(one.state is DeploymentState.PENDING for one in await tx.rollouts.deployments(rollout))


async def _by_now(tx: Transaction, rollout: Rollout) -> Rollout:
    """Say how it stands, whether or not the coordinator has written that down yet: as `show` says it."""
    if rollout.state is not RolloutState.RUNNING:
        return rollout
    return settled(rollout, await tx.rollouts.deployments(rollout.id))


async def _find(tx: Transaction, rollout: RolloutId) -> Rollout:
    found = await tx.rollouts.get(rollout)
    if found is None:
        raise _none(rollout)
    return found


def _none(rollout: RolloutId) -> NotFound:
    return NotFound(f"there is no rollout {rollout[:80]!r}: `headwater rollout list` shows them")
