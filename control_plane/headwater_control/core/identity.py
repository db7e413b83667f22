"""Who may be in the fleet: invitations, certificates, and whether a device is shut out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from headwater_wire.ids import DeviceId

Labels = tuple[tuple[str, str], ...]
GRACE = timedelta(days=365)  # so long after its end a certificate can still be renewed by its key
A_DAY = 10  # certificates for one device: a renewal is due every six weeks
KEPT = timedelta(days=30)  # an invitation after its end: so long it is told why it admits nobody
ANY = DeviceId("")  # as an invitation's device: whichever id the box would like


class InviteState(StrEnum):
    """Whether an invitation admits, and if not, why."""

    OPEN = "open"
    USED = "used up"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Invite:
    """An invitation to enrol. Of its secret only the SHA-256 (hex) is kept."""

    id: str
    hash: str = field(repr=False)
    created_at: datetime
    created_by: str
    expires_at: datetime
    device: DeviceId = ANY
    labels: Labels = ()
    uses: int = 1
    used: int = 0
    ended_at: datetime | None = None  # by its last use, or withdrawn before that; None: by its time alone

    def state(self, now: datetime) -> InviteState:
        """Say whether it admits."""
        if self.used >= self.uses:
            return InviteState.USED
        if self.ended_at is not None:
            return InviteState.WITHDRAWN
        return InviteState.EXPIRED if now >= self.expires_at else InviteState.OPEN


@dataclass(frozen=True, slots=True)
class Certificate:
    """One that was issued. `key` is the SHA-256 (hex) of its public key, `invite` the invitation it was issued for."""

    serial: str  # hex
    device: DeviceId
    key: str
    issued_at: datetime
    ends: datetime
    invite: str = ""  # "": a renewal
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a device may come in, and the labels its invitation gave it, which its own word can't change."""

    device: DeviceId
    enrolled_at: datetime
    labels: Labels = ()
    disabled_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A device that was enrolled, and until when the newest certificate that was not revoked is good; None: none is."""

    standing: Standing
    certificate_ends: datetime | None = None


@dataclass(frozen=True, slots=True)
class Barred:
    """Who is shut out: devices, and certificates (serials, hex) of devices that are not."""

    devices: frozenset[DeviceId] = frozenset()
    serials: frozenset[str] = frozenset()

    def bars(self, device: DeviceId, serial: str) -> bool:
        """Say whether a certificate of a device is worth nothing."""
        return device in self.devices or serial in self.serials


def hashed(secret: bytes) -> str:
    """Digest a secret of 256 random bits, which needs no slow hash."""
    return sha256(secret).hexdigest()


def unusable(invite: Invite | None, now: datetime) -> str:
    """Say why an invitation admits nobody; nothing, if it does."""
    if invite is None:
        return "there is no such invitation"
    match invite.state(now):
        case InviteState.WITHDRAWN:
            return f"the invitation was withdrawn at {invite.ended_at:%Y-%m-%d %H:%M:%S} UTC: ask for another one"
        case InviteState.EXPIRED:
            return f"the invitation expired at {invite.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        case InviteState.USED:
            times = "once" if invite.uses == 1 else f"{invite.uses} times"
            return f"the invitation was for {times} only, and has been used"
        case InviteState.OPEN:
            return ""


def too_often(issued: Sequence[Certificate], now: datetime) -> bool:
    """Say whether a device has had so many certificates within a day that it gets no other: rows would pile up."""
    return sum(one.issued_at > now - timedelta(days=1) for one in issued) >= A_DAY


def worth_telling(times: int) -> bool:
    """Say whether the audit log tells of an invitation's so-manieth refusal: of the first, second, fourth, eighth…

    A stranger who has a dead invitation may try it some 30,000 times a day: that makes 15 entries.
    """
    return times & (times - 1) == 0


def occupied(invite: Invite, device: DeviceId, standing: Standing | None) -> str:
    """Say why a device can't be enrolled under this id; nothing, if it can."""
    if standing is not None and standing.disabled_at is not None:
        return f"device {device!r} is disabled: an admin must enable it first, by `headwater device enable {device}`"
    if standing is None or (invite.device == device and standing.enrolled_at <= invite.created_at):
        return ""  # or it was invited for that very place, by somebody who knew of the box there
    return (
        f"there is a device {device!r} already: choose another id, or, to put this box in its place, invite it by "
        f"`headwater device invite --device {device}`"
    )


def admitted(invite: Invite, device: DeviceId, standing: Standing | None, now: datetime) -> tuple[Invite, Standing]:
    """Say what becomes of an invitation and a device that it lets in."""
    labels = invite.labels or (standing.labels if standing else ())
    since = standing.enrolled_at if standing else now
    used = invite.used + 1
    ended_at = now if used >= invite.uses else None
    return replace(invite, used=used, ended_at=ended_at), Standing(device, since, labels)


def labelled(told: Labels, given: Labels) -> Labels:
    """Give the labels a device has: those it tells, under those it was given."""
    return tuple(sorted((dict(told) | dict(given)).items()))
