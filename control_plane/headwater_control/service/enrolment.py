"""Use cases around a box's certificate: invite (and withdraw that), enrol, renew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

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
from headwater_control.issuing import issued
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


@dataclass(frozen=True, slots=True)
class Proven:
    """A renewal whose sender has the key of a certificate of ours. Whether that still counts is another question."""

    device: DeviceId
    serial: str
    csr: bytes


async def enroll(world: World, secret: bytes, wish: str, csr: bytes, *, insists: bool = False) -> Issued:
    """Issue a certificate for an invitation's secret; raise `Forbidden`, `Conflict` or `Malformed`.

    The same secret with the same key again gives a certificate again: the first answer may have been lost.
    """
    if len(secret) != SECRET_BYTES:
        raise Malformed("that is no invitation's secret")
    key = world.issuer.key_of(csr)
    async with world.store.read() as tx:
        found = await _found(tx, secret)
        device = _meant(found, wish, insists=insists)
        case = await _case(tx, found, device, key, world)
    # Outside of a transaction, as it may take its time. Who is refused in the next one never sees it.
    made = None if case.problem else await issued(world.issuer.device, device, csr, world.clock.now())
    async with work(world) as unit:
        found = await _found(unit.tx, secret, lock=True)
        case = await _case(unit.tx, found, device, key, world, lock=True)
        if case.problem:
            _note_refusal(unit, found, device, case, world)
        elif made is None:
            raise Conflict("what stood against it a moment ago is gone: try again")
        else:
            made = replace(made, record=replace(made.record, invite=found.id))
            await _let_in(unit, found, case, made.record, world)
    if made is None or case.problem:  # said only now: that it was tried is in the audit log
        raise Forbidden(case.problem)
    await world.roll.look_soon(world.store, world.clock.now())  # an earlier box of this name is out
    return made


async def _found(tx: Transaction, secret: bytes, *, lock: bool = False) -> Invite:
    found = await tx.invites.find(hashed(secret), lock=lock)
    if found is None:
        raise Forbidden("there is no such invitation: make one with `headwater device invite`")
    return found


def _meant(found: Invite, wish: str, *, insists: bool) -> DeviceId:
    """Say which device an invitation admits; raise `Forbidden`."""
    device = found.device or DeviceId(check_name(wish, "device"))
    if insists and device != wish:
        raise Forbidden(f"the invitation is for {device!r}, but agent.id in the box's configuration is {wish[:80]!r}")
    return device


def prove(world: World, asked: Renewal) -> Proven:
    """Check a renewal's signatures, without a look at the database; raise `Forbidden` or `Malformed`."""
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
    return Proven(shown.device, shown.serial, asked.csr)


async def renew(world: World, asked: Proven) -> Issued:
    """Issue a new certificate for an old one, also if that has expired; raise `Forbidden` or `Conflict`."""
    now = world.clock.now()
    async with world.store.read() as tx:
        await _require_renewable(tx, asked, now)
    made = await issued(world.issuer.device, asked.device, asked.csr, now)
    async with work(world) as unit:
        if await _require_renewable(unit.tx, asked, now, lock=True) is None:
            # It was enrolled after the backup that this database was restored from.
            await unit.tx.members.save(Standing(asked.device, now))
        await unit.tx.members.certify(made.record)
        await unit.tx.members.forget(asked.device, now - GRACE)
    return made


async def _require_renewable(tx: Transaction, asked: Proven, now: datetime, *, lock: bool = False) -> Standing | None:
    """Raise `Forbidden` or `Conflict` if a device may have no other certificate; give its standing."""
    standing = await tx.members.standing(asked.device, lock=lock)
    if reason := await _shut_out(tx, asked.device, asked.serial, standing):
        raise Forbidden(reason)
    if too_often(await tx.members.certificates(asked.device), now):
        raise Conflict(f"device {asked.device} has had {A_DAY} certificates within a day: try again tomorrow")
    return standing


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


@dataclass(frozen=True, slots=True)
class _Case:
    """What speaks for and against a box. `again`: it was let in already, and asks for the answer once more."""

    entered: Standing | None
    standing: Standing | None
    before: tuple[Certificate, ...]
    again: bool
    dead: str
    taken: str

    @property
    def problem(self) -> str:
        return "" if self.again else self.dead or self.taken


async def _case(
    tx: Transaction, found: Invite, device: DeviceId, key: str, world: World, *, lock: bool = False
) -> _Case:
    now = world.clock.now()
    entered = await tx.members.standing(device, lock=lock)
    standing = entered or await _presumed(tx, device, world)
    before = tuple(await tx.members.certificates(device))
    asked_before = any(one.invite == found.id and one.key == key and one.revoked_at is None for one in before)
    enabled = standing is not None and standing.disabled_at is None
    withdrawn = found.state(now) is InviteState.WITHDRAWN
    again = asked_before and enabled and not withdrawn and not too_often(before, now)
    return _Case(entered, standing, before, again, unusable(found, now), occupied(found, device, standing))


def _note_refusal(unit: Work, found: Invite, device: DeviceId, case: _Case, world: World) -> None:
    if worth_telling(times := world.refusals.count(found.id, "" if case.dead else device)):
        unit.deeds.append(deed("device.enroll-refused", device, None, Refusal(found.id, case.problem, times)))


async def _let_in(unit: Work, found: Invite, case: _Case, record: Certificate, world: World) -> None:
    """Enrol a box; the audit log has it."""
    device, now = record.device, world.clock.now()
    if case.again:
        await unit.tx.members.certify(record)
        return
    used, now_stands = admitted(found, device, case.standing, now)
    await unit.tx.invites.save(used)
    await unit.tx.members.save(now_stands)
    if case.entered is None and await unit.tx.members.certificates(device):  # there was no row to lock
        raise Conflict(f"another box was enrolled as {device} just now: choose another id")
    await unit.tx.members.revoke(device, now)  # the box that this one takes the place of
    await unit.tx.members.certify(record)
    admission = Admission(found.id, record.serial, now_stands.labels)
    if case.standing is None:
        unit.deeds.append(deed("device.enroll", device, None, admission))
    else:
        unit.deeds.append(deed("device.replace", device, _former(case.before, case.standing), admission))


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
