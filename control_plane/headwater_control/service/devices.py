"""Use cases around devices: registration, signs of life, and why one is not training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from headwater_wire.ids import DeviceId
from headwater_wire.messages import Hello, Progress

from headwater_control.core.fleet import Beat, Device, Patience, is_online, registered, with_presence
from headwater_control.core.identity import labelled
from headwater_control.core.rollout import DeploymentRecord
from headwater_control.core.runs import RoundState, Run, RunState, TaskRecord
from headwater_control.core.scheduler import obstacle
from headwater_control.ports import Labels, Transaction
from headwater_control.service.authority import principal, sees
from headwater_control.service.deployments import join
from headwater_control.service.errors import NotFound
from headwater_control.service.lookup import find_model, read_manifest
from headwater_control.service.work import work
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device as an operator sees it. `why_not_training` is empty while it has open tasks."""

    device: Device
    tasks: tuple[TaskRecord, ...]  # open ones
    deployments: tuple[DeploymentRecord, ...]  # what it should have installed
    why_not_training: tuple[str, ...]
    certificate_ends: datetime | None  # of its newest certificate; None: it has none
    disabled_at: datetime | None  # since when it is shut out; None: it is not
    disabled_reason: str


async def register(world: World, device: DeviceId, hello: Hello, hello_hash: str) -> None:
    """Take in a device's Hello; `hello_hash` is the SHA-256 (hex) of its bytes.

    One of an older epoch is ignored, and of a device that is shut out.
    """
    now = world.clock.now()
    async with work(world) as unit:
        standing = await unit.tx.members.standing(device)
        if standing is not None and standing.disabled_at is not None:
            return
        if standing is not None:
            hello = replace(hello, labels=labelled(hello.labels, standing.labels))
        known = await unit.tx.devices.get(device, lock=True)
        now_known = registered(known, device, hello, hello_hash, now)
        if now_known is known:
            return
        await unit.tx.devices.save(now_known)
        await join(world, unit, now_known, now)
        unit.fleet_changed = True


async def presence(world: World, device: DeviceId, online: bool, epoch: int, seq: int) -> None:
    """Take in a birth, goodbye or last will: the highest (epoch, seq) wins. Of an unknown device: nothing."""
    if online and device in world.roll.barred.devices:
        return
    async with work(world) as unit:
        known = await unit.tx.devices.get(device, lock=True)
        if known is None:
            return
        changed = with_presence(known, online, epoch, seq, world.clock.now())
        if changed is not known:
            await unit.tx.devices.save(changed)
            unit.fleet_changed = changed.online != known.online


async def heartbeats(world: World, beats: Sequence[tuple[Beat, tuple[Progress, ...]]]) -> None:
    """Take in many heartbeats at once; ring those devices that are behind, or unknown, to come and sync."""
    progress = [(beat.device, line) for beat, lines in beats for line in lines]
    async with work(world) as unit:
        known = await unit.tx.devices.several({beat.device for beat, _ in beats})
        for beat, _ in beats:
            device = known.get(beat.device)
            if device is None or beat.revision < device.revision:
                unit.ring(beat.device, device.revision if device else 0)
            unit.fleet_changed |= device is not None and not device.online
        if progress:  # tasks before devices, as everywhere: see docs/adr/0003-store.md
            await unit.tx.tasks.note(progress, world.clock.now())
        await unit.tx.devices.touch([beat for beat, _ in beats])
    if progress:
        world.bells.ring_watchers()


async def list_devices(world: World, labels: Labels = ()) -> tuple[Device, ...]:
    """List the devices with all of `labels`, by id."""
    async with world.store.read() as tx:
        return await tx.devices.matching(tuple(sorted({*labels, *principal().labels})))


async def show_device(world: World, device: DeviceId) -> DeviceView:
    """Show one; raise `NotFound`."""
    async with world.store.read() as tx:
        found = await tx.devices.get(device)
        if found is None or not sees(found.labels):
            raise NotFound(f"there is no device {device[:80]!r}: `headwater device list` shows those that registered")
        tasks = await tx.tasks.open_of(device)
        deployments = await tx.rollouts.desired(device)
        standing = await tx.members.standing(device)
        certificates = await tx.members.certificates(device)
        why = () if tasks else await _why_not_training(world, tx, found)
    disabled_at = standing.disabled_at if standing else None
    if disabled_at is not None:
        why = ("an operator has shut it out: `headwater device enable` lets it in again",)
    return DeviceView(
        device=found,
        tasks=tasks,
        deployments=deployments,
        why_not_training=why,
        certificate_ends=certificates[0].ends if certificates else None,
        disabled_at=disabled_at,
        disabled_reason=standing.reason if standing else "",
    )


async def _why_not_training(world: World, tx: Transaction, device: Device) -> tuple[str, ...]:
    reasons = []
    now = world.clock.now()
    settings = world.settings
    if not is_online(device, now, Patience(settings.presence_grace_s, settings.silence_s, device.registered_at)):
        since = device.presence_at if not device.online else device.last_seen
        heard = "has not been heard of" if device.online else "is offline"
        reasons.append(f"it {heard} since {since:%Y-%m-%d %H:%M:%S} UTC" if since else f"it {heard}")
    runs = [run for run in await tx.runs.all((RunState.RUNNING, RunState.PAUSED)) if sees(run.spec.cohort)]
    if not runs:
        return (*reasons, "no run is asking: start one with `headwater run start`")
    for run in runs:
        manifest = await read_manifest(world.blobs, await find_model(tx, run.spec.model))
        found = obstacle(device, run.spec, manifest)
        reason = found.detail if found else await _without_task(tx, run, device)
        reasons.append(f"run {run.id}: {reason}")
    return tuple(reasons)


async def _without_task(tx: Transaction, run: Run, device: Device) -> str:
    """Say why an able device has no open task of a run."""
    if run.state is RunState.PAUSED:
        return "it is paused"
    record = await tx.runs.round(run.id, run.round)
    if record is None or record.state is RoundState.SELECTING:
        return (record.reason if record else "") or "its next round is about to ask"
    mine = [task for task in await tx.tasks.of_round(run.id, run.round) if task.device == device.id]
    if mine:
        what = f"its task of round {run.round} has {mine[-1].state}"
        return f"{what}: {mine[-1].reason}" if mine[-1].reason else f"{what}; waiting for the round to end"
    if record.state is RoundState.MERGING:
        return f"round {run.round} is being merged"
    return f"it was not drawn for round {run.round}, which asked enough others"
