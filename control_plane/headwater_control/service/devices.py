"""Use cases around devices: registration, signs of life, and why one is not training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from headwater_wire.ids import DeviceId
from headwater_wire.messages import Hello, Progress

from headwater_control.core.fleet import (
    Beat,
    Device,
    DeviceState,
    Patience,
    is_online,
    registered,
    state_of,
    with_presence,
)
from headwater_control.core.identity import Certificate, Member, Standing, labelled
from headwater_control.core.rollout import DeploymentRecord
from headwater_control.core.runs import RoundState, Run, RunState, TaskRecord
from headwater_control.core.scheduler import obstacle, unready
from headwater_control.ports import Labels, Transaction
from headwater_control.service.authority import principal, sees
from headwater_control.service.deployments import join
from headwater_control.service.errors import NotFound
from headwater_control.service.lookup import find_model, read_manifest
from headwater_control.service.work import Work, work
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class Registration:
    """A device's Hello; `hello_hash` is the SHA-256 (hex) of its bytes."""

    device: DeviceId
    hello: Hello
    hello_hash: str


@dataclass(frozen=True, slots=True)
class Sign:
    """A birth, a goodbye or a last will."""

    device: DeviceId
    online: bool
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A device as it is listed. Of one that has not `registered` no more is known than its enrolment tells."""

    device: Device
    state: DeviceState
    registered: bool


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device as an operator sees it. `why_not_training` is empty while it has open tasks."""

    device: Device
    state: DeviceState
    registered: bool
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
    await arrive(world, [Registration(device, hello, hello_hash)])


async def presence(world: World, device: DeviceId, online: bool, epoch: int, seq: int) -> None:
    """Take in a birth, goodbye or last will: the highest (epoch, seq) wins. Of an unknown device: nothing."""
    await arrive(world, [Sign(device, online, epoch, seq)])


async def arrive(world: World, arrivals: Sequence[Registration | Sign]) -> None:
    """Take in many of both, each device's in order, in one transaction: a fleet that comes back costs few commits."""
    async with work(world) as unit:
        for arrival in sorted(arrivals, key=lambda arrival: arrival.device):  # so that replicas never deadlock
            if isinstance(arrival, Registration) and world.settings.broker_vouches:
                await take_in(world, unit, arrival)
            elif isinstance(arrival, Registration):
                await _have_shown(unit, arrival)
            else:
                await _sign(world, unit, arrival)


async def _have_shown(unit: Work, new: Registration) -> None:
    """Ring a device to show by Sync what it registers as: the broker might have made this up."""
    known = await unit.tx.devices.get(new.device)
    if known is None or known.hello_hash != new.hello_hash:
        unit.ring(new.device, known.revision if known else 0)


async def take_in(world: World, unit: Work, new: Registration) -> None:
    """Write a Hello down, unless it is of an older epoch or of a device that is shut out."""
    now, hello = world.clock.now(), new.hello
    standing = await unit.tx.members.standing(new.device)
    if standing is not None and standing.disabled_at is not None:
        return
    if standing is not None:
        hello = replace(hello, labels=labelled(hello.labels, standing.labels))
    known = await unit.tx.devices.get(new.device, lock=True)
    now_known = registered(known, new.device, hello, new.hello_hash, now)
    if now_known is known:
        return
    if known is None:
        now_known = replace(now_known, revision=world.settings.first_revision)
    await unit.tx.devices.save(now_known)
    await join(world, unit, now_known, now)
    unit.fleet_changed = True


async def _sign(world: World, unit: Work, sign: Sign) -> None:
    if sign.online and sign.device in world.roll.barred.devices:
        return
    known = await unit.tx.devices.get(sign.device, lock=True)
    if known is None or (sign.epoch > known.epoch and not world.settings.broker_vouches):
        return  # its first Sync of that life makes it known, and online
    changed = with_presence(known, sign.online, sign.epoch, sign.seq, world.clock.now())
    if changed is not known:
        await unit.tx.devices.save(changed)
        unit.fleet_changed |= changed.online != known.online


async def heartbeats(world: World, beats: Sequence[tuple[Beat, tuple[Progress, ...]]]) -> None:
    """Take in many heartbeats at once; ring the devices that are unknown, changed, behind or ahead, to come and sync.

    One that is behind has missed something, or is about to hear of it. One that is ahead was told it by a database that
    is lost, and ignores all it is told until both agree.
    """
    async with work(world) as unit:
        known = await unit.tx.devices.several({beat.device for beat, _ in beats})
        for beat, _ in beats:
            device = known.get(beat.device)
            if device is None or beat.revision != device.revision or not device.hello_hash.startswith(beat.hello):
                unit.ring(beat.device, device.revision if device else 0)
            unit.fleet_changed |= device is not None and not device.online
        if not world.settings.broker_vouches:
            beats = [(beat, lines) for beat, lines in beats if _is_of_now(beat, known)]
        progress = [(beat.device, line) for beat, lines in beats for line in lines]
        if progress:  # tasks before devices: see docs/adr/0003-store.md
            await unit.tx.tasks.note(progress, world.clock.now())
        await unit.tx.devices.touch([beat for beat, _ in beats])
    if progress:
        world.bells.ring_watchers()


def _is_of_now(beat: Beat, known: Mapping[DeviceId, Device]) -> bool:
    """Say whether a heartbeat is of no later life than its device itself has shown."""
    return beat.device in known and beat.epoch <= known[beat.device].epoch


async def list_devices(world: World, labels: Labels = ()) -> tuple[Listed, ...]:
    """List the devices with all of `labels`, by id: those that registered, and those that were enrolled and did not."""
    wanted, now = {*labels, *principal().labels}, world.clock.now()
    async with world.store.read() as tx:
        found = await tx.devices.matching(tuple(sorted(wanted)))
        members = {member.standing.device: member for member in await tx.members.all()}
        here = {device.id for device in found}
        absent = [member.standing for member in members.values() if member.standing.device not in here]
        elsewhere = await tx.devices.several({each.device for each in absent if wanted <= set(each.labels)})
    listed = [Listed(device, state_of(device, members.get(device.id), now), True) for device in found]
    for standing in absent:
        if wanted <= set(standing.labels) and standing.device not in elsewhere:
            state = state_of(None, members[standing.device], now)
            listed.append(Listed(_unregistered(standing), state, False))
    return tuple(sorted(listed, key=lambda each: each.device.id))


async def show_device(world: World, device: DeviceId) -> DeviceView:
    """Show one; raise `NotFound`."""
    async with world.store.read() as tx:
        known = await tx.devices.get(device)
        standing = await tx.members.standing(device)
        found = known or (_unregistered(standing) if standing else None)
        if found is None or not sees(found.labels):
            raise NotFound(f"there is no device {device[:80]!r}: `headwater device list` shows those there are")
        tasks = await tx.tasks.open_of(device)
        deployments = await tx.rollouts.desired(device)
        certificates = await tx.members.certificates(device)
        why = () if tasks else await _why_not_training(world, tx, found)
    state = state_of(known, _member(standing, certificates), world.clock.now())
    if state is DeviceState.DISABLED:
        why = ("an operator has shut it out: `headwater device enable` lets it in again",)
    elif known is None:
        why = ("it was enrolled, but its agent never came: start it there, by `headwater-agent run`",)
    return DeviceView(
        device=found,
        state=state,
        registered=known is not None,
        tasks=tasks,
        deployments=deployments,
        why_not_training=why,
        certificate_ends=certificates[0].ends if certificates else None,
        disabled_at=standing.disabled_at if standing else None,
        disabled_reason=standing.reason if standing else "",
    )


def _unregistered(standing: Standing) -> Device:
    """Say what is known of a device that was enrolled and never registered."""
    return Device(standing.device, standing.enrolled_at, standing.labels)


def _member(standing: Standing | None, certificates: Sequence[Certificate]) -> Member | None:
    good = [one.ends for one in certificates if one.revoked_at is None]
    return None if standing is None else Member(standing, max(good, default=None))


async def _why_not_training(world: World, tx: Transaction, device: Device) -> tuple[str, ...]:
    reasons = []
    now = world.clock.now()
    settings = world.settings
    if not is_online(device, now, Patience(settings.presence_grace_s, settings.silence_s, device.registered_at)):
        since = device.presence_at if not device.online else device.last_seen
        heard = "has not been heard of" if device.online else "is offline"
        reasons.append(f"it {heard} since {since:%Y-%m-%d %H:%M:%S} UTC" if since else f"it {heard}")
    elif held_back := unready(device):
        reasons.append(held_back.detail)
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
