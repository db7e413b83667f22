"""What the control plane knows of a device, and what follows from its signs of life."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from headwater_wire.ids import DeviceId
from headwater_wire.messages import Condition, DatasetCard, Hello, Inventory

from headwater_control.core.identity import Member


@dataclass(frozen=True, slots=True)
class Device:
    """One edge box. `revision` counts the changes meant for it; presence is the highest (epoch, seq) seen."""

    id: DeviceId
    registered_at: datetime
    labels: tuple[tuple[str, str], ...] = ()
    inventory: Inventory = field(default_factory=Inventory)
    datasets: tuple[DatasetCard, ...] = ()
    engines: tuple[str, ...] = ()
    unconfined: tuple[str, ...] = ()  # what its kernel lacks to confine a training
    conditions: tuple[Condition, ...] = ()  # what its owner sets for training now, as it told last
    hello_hash: str = ""
    revision: int = 0
    held_revision: int = 0  # what its last heartbeat or Sync showed
    epoch: int = 0
    seq: int = 0
    online: bool = False
    presence_at: datetime | None = None  # when `online` last changed
    last_seen: datetime | None = None
    late: int = 0  # its deltas that came after their round had closed


class DeviceState(StrEnum):
    """What an operator sees of a device first: that it is shut out comes before whether it is there."""

    ONLINE = "online"
    OFFLINE = "offline"
    ENROLLED = "enrolled"  # and never registered
    EXPIRED = "expired"  # its certificate: it comes in again by renewing it
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat says of a device."""

    device: DeviceId
    epoch: int
    revision: int
    at: datetime
    hello: str = ""  # how the digest of the registration begins that it sent last; "": it does not say


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a device's silence is borne. What was (not) heard before `since` proves nothing: nobody listened."""

    grace_s: float
    silence_s: float
    since: datetime


def registered(known: Device | None, device: DeviceId, hello: Hello, hello_hash: str, at: datetime) -> Device:
    """Say what a Hello makes of a device. One of an older life of the agent changes nothing."""
    if known is None:
        known = Device(device, registered_at=at)
    elif hello.epoch < known.epoch:
        return known
    if hello.epoch > known.epoch:  # a new life: it counts its presence from the start
        known = replace(known, epoch=hello.epoch, seq=0)
    if not known.online:
        known = replace(known, online=True, presence_at=at)
    return replace(
        known,
        labels=hello.labels,
        inventory=hello.inventory,
        datasets=hello.datasets,
        engines=hello.engines,
        unconfined=hello.unconfined,
        conditions=hello.conditions,
        hello_hash=hello_hash,
        last_seen=at,
    )


def with_presence(device: Device, online: bool, epoch: int, seq: int, at: datetime) -> Device:
    """Say what a birth, goodbye or last will makes of a device: the highest (epoch, seq) wins, in whatever order."""
    if (epoch, seq) < (device.epoch, device.seq):
        return device
    changed_at = device.presence_at if device.online == online else at
    seen = at if online else device.last_seen  # a last will is the broker's word, no sign of life
    return replace(device, online=online, epoch=epoch, seq=seq, presence_at=changed_at, last_seen=seen)


def state_of(device: Device | None, member: Member | None, now: datetime) -> DeviceState:
    """Say what state a device is in. It has registered, or was enrolled, or both: one that is known has either."""
    if member is not None and member.standing.disabled_at is not None:
        return DeviceState.DISABLED
    if member is not None and member.certificate_ends is not None and member.certificate_ends <= now:
        return DeviceState.EXPIRED
    if device is None:
        return DeviceState.ENROLLED
    return DeviceState.ONLINE if device.online else DeviceState.OFFLINE


def lost_at(device: Device, patience: Patience) -> datetime:
    """Say from when on a device is not waited for, if nothing is heard of it until then."""
    if device.online:
        return max(device.last_seen or patience.since, patience.since) + timedelta(seconds=patience.silence_s)
    return max(device.presence_at or patience.since, patience.since) + timedelta(seconds=patience.grace_s)


def is_online(device: Device, now: datetime, patience: Patience) -> bool:
    """Say whether a device can be given work: connected, as far as its last word goes, and not silent for long."""
    return device.online and now < lost_at(device, patience)
