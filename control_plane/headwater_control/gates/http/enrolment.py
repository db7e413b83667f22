"""/v1/ca, /v1/invites, /v1/devices/…/disable: who may be in the fleet. /v1/keys: what signs their orders."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Request, Response
from headwater_wire.ids import DeviceId
from headwater_wire.invitation import Invitation, encode
from pydantic import AfterValidator, BaseModel, Field, WithJsonSchema

from headwater_control.core.identity import Invite as Record
from headwater_control.core.identity import InviteState
from headwater_control.gates.http import schemas
from headwater_control.gates.http.needs import ADMIN, OPERATOR
from headwater_control.gates.http.within import InWorld
from headwater_control.service import enrolment, keys, standing
from headwater_control.service.errors import Conflict, Invalid
from headwater_control.service.world import World

router = APIRouter(prefix="/v1", tags=["identity"])


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Where boxes enrol: at a port of this host, under one of its names."""

    port: int
    names: tuple[str, ...] = ()  # as the operator lists them, the first for invitations
    held: frozenset[str] = frozenset()  # by the server's certificate: no other will do


def _bounded(ttl_s: float) -> float:
    if ttl_s > _TTL_MOST_S:
        raise ValueError(f"an invitation is good for at most {enrolment.TTL_MOST.days} days: write 7d, or 30d")
    return ttl_s


_TTL_MOST_S = enrolment.TTL_MOST.total_seconds()
_TTL_SCHEMA = {"type": "number", "exclusiveMinimum": 0, "maximum": _TTL_MOST_S}
Ttl = Annotated[float, AfterValidator(_bounded), WithJsonSchema(_TTL_SCHEMA)]  # in words for who writes 90d


class InviteRequest(BaseModel, extra="forbid"):
    """For whom an invitation is. `host` is how boxes reach this control plane; "": by its first configured name."""

    device: str = Field(default="", max_length=64, description="the one device it is for; empty: whichever comes")
    labels: dict[str, str] = Field(default={}, max_length=50)
    uses: int = Field(default=1, ge=1)
    ttl_s: Ttl = Field(default=3600.0, gt=0, allow_inf_nan=False)
    host: str = Field(default="", max_length=253)


class Invite(BaseModel):
    """An invitation, without its secret."""

    id: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    device: str
    labels: dict[str, str]
    uses: int
    used: int
    state: InviteState
    ended_at: datetime | None = Field(description="when its last use, or its withdrawal, ended it before its time")


class NewInvite(Invite):
    """An invitation with the line to paste on the box, which is told only now."""

    token: str


class DisableRequest(BaseModel, extra="forbid"):
    """Why a device is shut out: it is told so, and the audit log too."""

    reason: str = Field(default="", max_length=200)


class Standing(BaseModel, from_attributes=True):
    """Whether a device may come in."""

    device: str
    enrolled_at: datetime
    disabled_at: datetime | None
    reason: str


class NewKey(BaseModel):
    """The key that will sign orders, once agents have heard of it."""

    key: str


@router.get("/ca", response_class=Response, responses={200: {"content": {"application/x-pem-file": {}}}})
async def ca(world: InWorld) -> Response:
    """Tell the root certificate (PEM), to anybody: it is believed by whoever knows its fingerprint."""
    return Response(world.issuer.root_pem, media_type="application/x-pem-file")


@router.post("/invites", status_code=201, dependencies=OPERATOR)
async def invite(request: Request, world: InWorld, wanted: InviteRequest) -> NewInvite:
    """Make an invitation to enrol a box."""
    at: Enrolment | None = request.app.state.enrolment
    if at is None:
        raise Conflict("this control plane runs with --insecure: agents need no certificate, and there is none to get")
    host = wanted.host or next(iter(at.names), "") or request.url.hostname or "127.0.0.1"
    if host not in at.held:
        known = ", ".join(sorted(at.held))
        raise Invalid(f"the server's certificate is not for {host[:80]!r} but for {known}: add it to `names`")
    ttl = timedelta(seconds=wanted.ttl_s)
    record, secret = await enrolment.invite(
        world, device=wanted.device, labels=wanted.labels, uses=wanted.uses, ttl=ttl
    )
    place = f"[{host}]:{at.port}" if ":" in host else f"{host}:{at.port}"
    token = encode(Invitation(place, world.issuer.fingerprint, secret))
    return NewInvite(**_told(world, record).model_dump(), token=token)


@router.get("/invites", dependencies=OPERATOR)
async def invites(world: InWorld) -> list[Invite]:
    """List the invitations, newest first. For a month after their end they are shown."""
    return [_told(world, record) for record in await enrolment.list_invites(world)]


@router.post("/invites/{invite}/withdraw", dependencies=OPERATOR)
async def withdraw(world: InWorld, invite: schemas.Name) -> Invite:
    """Let an invitation admit nobody any more. Whom it let in stays."""
    return _told(world, await enrolment.uninvite(world, invite))


@router.post("/devices/{device}/disable", dependencies=ADMIN)
async def disable(world: InWorld, device: schemas.Name, why: DisableRequest) -> Standing:
    """Shut a device out: its connections end now, its tasks and unmerged deltas are dropped."""
    return Standing.model_validate(await standing.disable(world, DeviceId(device), why.reason))


@router.post("/devices/{device}/enable", dependencies=ADMIN)
async def enable(world: InWorld, device: schemas.Name) -> Standing:
    """Let a device in again, with the certificate it has."""
    return Standing.model_validate(await standing.enable(world, DeviceId(device)))


@router.post("/keys/rotate", dependencies=ADMIN)
async def rotate(world: InWorld) -> NewKey:
    """Make the next key that signs orders; it takes over once agents have had a week to hear of it."""
    return NewKey(key=await keys.rotate(world))


def _told(world: World, record: Record) -> Invite:
    return Invite(
        id=record.id,
        created_at=record.created_at,
        created_by=record.created_by,
        expires_at=record.expires_at,
        device=record.device,
        labels=dict(record.labels),
        uses=record.uses,
        used=record.used,
        state=record.state(world.clock.now()),
        ended_at=record.ended_at,
    )
