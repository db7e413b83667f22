"""Use cases around a box's certificate: invite (and withdraw that), enrol, renew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId, check_name
from headwater_wire.invitation import SECRET_BYTES

from headwater_control.core.audit import deed
from headwater_control.core.authority import Role
from headwater_control.core.identity import (
    A_DAY,
    ANY,
    GRACE,
    KEPT,
    Certificate,
    Invite,
    InviteState,
    Standing,
    admitted,
    hashed,
    occupied,
    too_often,
    unusable,
    worth_telling,
)
from headwater_control.ports import Issued, NotOurs, Transaction
from headwater_control.service.authority import must_reach, principal, sees
from headwater_control.service.caller import caller
from headwater_control.service.errors import Conflict, Forbidden, Invalid, NotFound
from headwater_control.service.work import Work, work
from headwater_control.service.world import World

TTL_MOST = timedelta(days=30)
_USES_MOST = 100_000
_FORGOTTEN_AT_ONCE = 1_000  # invitations: whoever else writes waits meanwhile


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a device sends for a new certificate: the old one's chain (PEM), a CSR (DER), and the nonce it signed."""

    chain: bytes
    csr: bytes
    nonce: bytes
    signature: bytes


async def invite(
    world: World, *, device: str = ANY, labels: Mapping[str, str] | None = None, uses: int = 1, ttl: timedelta
) -> tuple[Invite, bytes]:
    """Make an invitation; give it with its secret, which is kept nowhere. Raises `Invalid`."""
    if not timedelta(0) < ttl <= TTL_MOST:
        raise Invalid(f"an invitation is good for at most {TTL_MOST.days} days")
    if not 1 <= uses <= _USES_MOST:
        raise Invalid(f"an invitation is for 1 to {_USES_MOST} uses")
    if device and uses != 1:
        raise Invalid("an invitation for one device is for one use")
    if device:
        check_name(device, "device")
    for key, value in (labels or {}).items():
        check_name(key, "label")
        check_name(value, "label value")
    must_reach(tuple(sorted((labels or {}).items())), "give the invitation these labels too")
    secret = world.ids.secret()
    now = world.clock.now()
    made = Invite(
        id=world.ids.new("invite"),
        hash=hashed(secret),
        created_at=now,
        created_by=caller().who,
        expires_at=now + ttl,
        device=DeviceId(device),
        labels=tuple(sorted((labels or {}).items())),
        uses=uses,
    )
    async with work(world) as unit:
        if device:
            await _must_reach_present(unit.tx, made.device)
        await unit.tx.invites.save(made)
        unit.deeds.append(deed("device.invite", made.id, None, _public(made)))
    return made, secret


async def uninvite(world: World, invite: str) -> Invite:
    """Withdraw an invitation: from now on it admits nobody; once is enough.

    Whom it let in already stays. Raises `NotFound`, or `Conflict` if it admits nobody anyway.
    """
    now = world.clock.now()
    async with work(world) as unit:
        found = await unit.tx.invites.get(invite, lock=True)
        if found is None or not sees(found.labels):
            raise NotFound(f"there is no invitation {invite[:80]!r}: `headwater device invites` shows them by id")
        match found.state(now):
            case InviteState.WITHDRAWN:
                return found
            case InviteState.USED | InviteState.EXPIRED:
                raise Conflict(
                    f"there is nothing to withdraw: {unusable(found, now)}. To shut a box out that came in by it: "
                    "`headwater device disable`"
                )
            case InviteState.OPEN:
                withdrawn = replace(found, ended_at=now)
        await unit.tx.invites.save(withdrawn)
        unit.deeds.append(deed("device.uninvite", invite, _public(found), _public(withdrawn)))
    return withdrawn


async def forget_invites(world: World) -> None:
    """Delete invitations that ended long ago, so many at a time: the next ones' turn comes with the next call."""
    async with world.store.write() as tx:
        await tx.invites.forget(world.clock.now() - KEPT, _FORGOTTEN_AT_ONCE)


async def enroll(world: World, secret: bytes, wish: str, csr: bytes, *, insists: bool = False) -> Issued:
    """Issue a certificate for an invitation's secret; raise `Forbidden`, `Conflict` or `Malformed`.

    The same secret with the same key again gives a certificate again: the first answer may have been lost.
    """
    key = world.issuer.key_of(csr)
    if len(secret) != SECRET_BYTES:
        raise Malformed("that is no invitation's secret")
    async with work(world) as unit:
        found = await unit.tx.invites.find(hashed(secret), lock=True)
        if found is None:
            raise Forbidden("there is no such invitation: make one with `headwater device invite`")
        device = found.device or DeviceId(check_name(wish, "device"))
        if insists and device != wish:
            raise Forbidden(
                f"the invitation is for {device!r}, but agent.id in the box's configuration is {wish[:80]!r}"
            )
        issued = world.issuer.device(device, csr, world.clock.now())
        record = replace(issued.record, invite=found.id)
        problem = await _let_in(unit, found, record, key, world)
    if problem:  # said only now: that it was tried is in the audit log
        raise Forbidden(problem)
    await world.roll.look_soon(world.store, world.clock.now())  # an earlier box of this name is out
    return replace(issued, record=record)


async def renew(world: World, asked: Renewal) -> Issued:
    """Issue a new certificate for an old one, also if that has expired; raise `Forbidden` or `Malformed`."""
    now = world.clock.now()
    if not world.nonces.good(asked.nonce, now):
        raise Forbidden("the nonce is not one of ours, or too old: ask for another one")
    try:
        shown = world.issuer.examine(asked.chain, now, GRACE)
    except NotOurs as error:
        raise Forbidden(str(error)) from error
    if not world.issuer.signed_renewal(asked.chain, asked.nonce, asked.csr, asked.signature):
        raise Forbidden("the signature is not by the certificate's key")
    if world.issuer.key_of(asked.csr) != shown.key:
        raise Forbidden("a renewal is for the same key")
    issued = world.issuer.device(shown.device, asked.csr, now)
    async with work(world) as unit:
        standing = await unit.tx.members.standing(shown.device, lock=True)
        if reason := await _shut_out(unit.tx, shown.device, shown.serial, standing):
            raise Forbidden(reason)
        if too_often(await unit.tx.members.certificates(shown.device), now):
            raise Conflict(f"device {shown.device} has had {A_DAY} certificates within a day: try again tomorrow")
        if standing is None:  # it was enrolled after the backup that this database was restored from
            await unit.tx.members.save(Standing(shown.device, now))
        await unit.tx.members.certify(issued.record)
        await unit.tx.members.forget(shown.device, now - GRACE)
    return issued


async def _must_reach_present(tx: Transaction, device: DeviceId) -> None:
    """Raise `Forbidden` if the box whose place the invited one takes is out of reach."""
    standing, known = await tx.members.standing(device), await tx.devices.get(device)
    if known is not None or standing is not None:
        if not principal().may(Role.ADMIN):
            raise Forbidden(
                f"there is a device {device!r}: to put a box in its place shuts it out, which only an admin may"
            )
        labels = known.labels if known else standing.labels if standing else ()
        must_reach(labels, f"device {device} is not among those")


async def list_invites(world: World) -> tuple[Invite, ...]:
    """List the invitations that whoever asks may know of, newest first."""
    async with world.store.read() as tx:
        return tuple(invite for invite in await tx.invites.all() if sees(invite.labels))


async def _let_in(unit: Work, found: Invite, record: Certificate, key: str, world: World) -> str:
    """Enrol a box, or say why it may not be; the audit log has either."""
    device, now = record.device, world.clock.now()
    entered = await unit.tx.members.standing(device, lock=True)
    standing = entered or await _presumed(unit.tx, device, world)
    before = await unit.tx.members.certificates(device)
    asked_before = any(one.invite == found.id and one.key == key and one.revoked_at is None for one in before)
    enabled = standing is not None and standing.disabled_at is None
    withdrawn = found.state(now) is InviteState.WITHDRAWN
    if asked_before and enabled and not withdrawn and not too_often(before, now):
        await unit.tx.members.certify(record)
        return ""
    dead, taken = unusable(found, now), occupied(found, device, standing)
    if problem := dead or taken:
        if worth_telling(times := world.refusals.count(found.id, "" if dead else device)):
            unit.deeds.append(deed("device.enroll-refused", device, None, Refusal(found.id, problem, times)))
        return problem
    used, now_stands = admitted(found, device, standing, now)
    await unit.tx.invites.save(used)
    await unit.tx.members.save(now_stands)
    if entered is None and await unit.tx.members.certificates(device):  # there was no row to lock
        raise Conflict(f"another box was enrolled as {device} just now: choose another id")
    await unit.tx.members.revoke(device, now)  # the box that this one takes the place of
    await unit.tx.members.certify(record)
    admission = Admission(found.id, record.serial, now_stands.labels)
    if standing is None:
        unit.deeds.append(deed("device.enroll", device, None, admission))
    else:
        unit.deeds.append(deed("device.replace", device, _former(before, standing), admission))
    return ""


async def _presumed(tx: Transaction, device: DeviceId, world: World) -> Standing | None:
    """Give the standing of a box that was enrolled after the backup that this database comes from, and is in again.

    Without labels: those that it tells are its own word.
    """
    known = await tx.devices.get(device) if world.settings.first_revision else None
    return Standing(device, known.registered_at) if known else None


@dataclass(frozen=True, slots=True)
class Admission:
    """What the audit log tells of an enrolment; of a box that another one replaces, how that had come in."""

    invite: str
    serial: str  # of its newest certificate
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the audit log tells of one that was refused; `times` counts those that it folds.

    They are the invitation's, or, if the id was taken, those that aimed at the same one.
    """

    invite: str
    reason: str
    times: int


def _former(certificates: Sequence[Certificate], standing: Standing) -> Admission:
    """Say how the box came in whose place is taken; without a certificate (it was never enrolled), by nothing."""
    newest = next(iter(certificates), None)
    if newest is None:
        return Admission("", "", standing.labels)
    invite = next((one.invite for one in certificates if one.key == newest.key and one.invite), "")
    return Admission(invite, newest.serial, standing.labels)


def _public(invite: Invite) -> Invite:
    """Leave out what the secret could be checked against."""
    return replace(invite, hash="")


async def _shut_out(tx: Transaction, device: DeviceId, serial: str, standing: Standing | None) -> str:
    if standing is not None and standing.disabled_at is not None:
        return f"device {device} is disabled: {standing.reason or 'an operator decided so'}"
    mine = await tx.members.certificates(device)
    if any(one.serial == serial and one.revoked_at is not None for one in mine):
        return "that certificate was revoked: another box has taken this one's place; enrol it again"
    return ""
