"""What each device should have installed: new desires, and reports on old ones."""

from collections.abc import Sequence
from datetime import datetime

from headwater_wire.ids import DeviceId
from headwater_wire.messages import Deployment, DeploymentReport

from headwater_control.core.fleet import Device
from headwater_control.core.rollout import (
    DeploymentRecord,
    DeploymentState,
    Rollout,
    RolloutState,
    meant_for,
    reported,
    settled,
    superseded,
)
from headwater_control.ports import Transaction
from headwater_control.service.assignments import spell_deployment
from headwater_control.service.lookup import find_version
from headwater_control.service.work import Work, work
from headwater_control.service.world import World


async def supersede(tx: Transaction, device: DeviceId, rollout: Rollout, at: datetime) -> DeploymentRecord:
    """Take back what was pending on a device of the same model; make its new deployment, not yet saved."""
    for old in await tx.rollouts.desired(device):
        if old.model == rollout.model and (ended := superseded(old, at)) != old:
            await tx.rollouts.save_deployment(ended)
    return DeploymentRecord(
        rollout=rollout.id,
        device=device,
        model=rollout.model,
        version=rollout.version,
        generation=rollout.generation,
        state=DeploymentState.PENDING,
        updated_at=at,
    )


async def join(world: World, unit: Work, device: Device, at: datetime) -> None:
    """Give a device that has just registered its share of the rollouts that run."""
    running = meant_for(device.labels, await unit.tx.rollouts.all())
    held = {record.model: record.generation for record in await unit.tx.rollouts.desired(device.id)} if running else {}
    for rollout in running:
        if held.get(rollout.model, -1) < rollout.generation:
            record = await supersede(unit.tx, device.id, rollout, at)
            await unit.tx.rollouts.save_deployment(record)
            version = await find_version(unit.tx, rollout.version)
            unit.deploy(spell_deployment(record, version, world.settings.tolerance))


async def note_reports(unit: Work, device: DeviceId, reports: Sequence[DeploymentReport], at: datetime) -> None:
    """Take in how installs ended."""
    if not reports:
        return
    for record in await unit.tx.rollouts.desired(device):
        ends = (reported(record, report, at) for report in reports if report.model == record.model)
        if ended := next((end for end in ends if end != record), None):
            await unit.tx.rollouts.save_deployment(ended)
            unit.runs_changed = True  # the coordinator then settles the rollout


async def desired(world: World, tx: Transaction, device: DeviceId) -> tuple[Deployment, ...]:
    """List what a device should install or keep. What failed there is not asked for again."""
    wanted = (DeploymentState.PENDING, DeploymentState.INSTALLED)
    return tuple(
        [
            spell_deployment(record, await find_version(tx, record.version), world.settings.tolerance)
            for record in await tx.rollouts.desired(device)
            if record.state in wanted
        ]
    )


async def settle(world: World) -> None:
    """End the rollouts of which nothing is pending any more."""
    async with world.store.read() as tx:
        running = [rollout for rollout in await tx.rollouts.all() if rollout.state is RolloutState.RUNNING]
        ended = any([settled(rollout, await tx.rollouts.deployments(rollout.id)) != rollout for rollout in running])
    if not ended:
        return
    async with work(world) as unit:
        for rollout in await unit.tx.rollouts.all():
            end = settled(rollout, await unit.tx.rollouts.deployments(rollout.id))
            if end != rollout:
                await unit.tx.rollouts.save(end)
