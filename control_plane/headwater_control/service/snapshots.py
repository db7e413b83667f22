"""Loads what the plan of a run looks at: one round, whatever their number."""

from datetime import datetime

from headwater_wire.ids import RunId
from headwater_wire.manifest import Manifest

from headwater_control.core.fleet import Patience
from headwater_control.core.rounds import Snapshot
from headwater_control.core.runs import TaskState
from headwater_control.ports import Transaction
from headwater_control.service.lookup import find_model, find_run, read_manifest
from headwater_control.service.world import World


async def load_manifest(world: World, run: RunId) -> Manifest:
    """Read the bundle of a run's model: it never changes."""
    async with world.store.read() as tx:
        model = await find_model(tx, (await find_run(tx, run)).spec.model)
    return await read_manifest(world.blobs, model)


async def load_snapshot(world: World, tx: Transaction, run_id: RunId, manifest: Manifest, since: datetime) -> Snapshot:
    """Read a run's current round with its tasks, and the devices that count for it."""
    run = await find_run(tx, run_id)
    tasks = await tx.tasks.of_round(run.id, run.round)
    devices = {device.id: device for device in await tx.devices.matching(run.spec.cohort)}
    for task in tasks:
        if task.state is TaskState.OPEN and task.device not in devices:  # its labels changed after it was asked
            device = await tx.devices.get(task.device)
            assert device is not None  # the task's foreign key
            devices[device.id] = device
    return Snapshot(
        run=run,
        round=await tx.runs.round(run.id, run.round),
        tasks=tasks,
        devices=tuple(devices.values()),
        manifest=manifest,
        patience=Patience(world.settings.presence_grace_s, world.settings.silence_s, since),
    )
