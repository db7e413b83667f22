"""The tables and repositories of who may be in the fleet: invitations, certificates, standings."""

from dataclasses import fields
from datetime import datetime

import sqlalchemy as sa
from headwater_wire.ids import DeviceId
from sqlmodel import Field, SQLModel

from headwater_control.core.identity import Barred, Certificate, Invite, Member, Standing
from headwater_control.edges.store.columns import LabelSet, Name, Utc, Whole, Words
from headwater_control.edges.store.rows import Rows
from headwater_control.ports import Labels


class InviteRow(SQLModel, table=True):
    """One invitation."""

    __tablename__ = "invite"
    __table_args__ = (sa.UniqueConstraint("hash", name="uq_invite_hash"),)

    id: str = Field(primary_key=True, sa_type=Name)
    hash: str = Field(sa_type=Name)
    created_at: datetime = Field(sa_type=Utc)
    created_by: str = Field(sa_type=Name)
    expires_at: datetime = Field(sa_type=Utc)
    device: str = Field(sa_type=Name)
    labels: Labels = Field(sa_type=LabelSet)
    uses: int = Field(sa_type=Whole)
    used: int = Field(sa_type=Whole)
    ended_at: datetime | None = Field(sa_type=Utc)


class StandingRow(SQLModel, table=True):
    """Whether one device may come in."""

    __tablename__ = "standing"

    device: str = Field(primary_key=True, sa_type=Name)
    enrolled_at: datetime = Field(sa_type=Utc)
    labels: Labels = Field(sa_type=LabelSet)
    disabled_at: datetime | None = Field(sa_type=Utc)
    reason: str = Field(sa_type=Words)


class CertificateRow(SQLModel, table=True):
    """One certificate that was issued."""

    __tablename__ = "certificate"

    serial: str = Field(primary_key=True, sa_type=Name)
    device: str = Field(sa_type=Name, index=True)
    key: str = Field(sa_type=Name)
    issued_at: datetime = Field(sa_type=Utc)
    ends: datetime = Field(sa_type=Utc)
    invite: str = Field(sa_type=Name)
    revoked_at: datetime | None = Field(sa_type=Utc)


_TABLES = SQLModel.metadata.tables
_INVITES, _STANDINGS, _CERTIFICATES = _TABLES["invite"], _TABLES["standing"], _TABLES["certificate"]
_I, _S, _C = _INVITES.c, _STANDINGS.c, _CERTIFICATES.c
_FIND_INVITE = sa.select(*(_I[field.name] for field in fields(Invite)))  # in the record's order
_FIND_STANDING = sa.select(*(_S[field.name] for field in fields(Standing)))
_NEWEST_ENDS = sa.select(sa.func.max(_C.ends)).where(_C.device == _S.device, _C.revoked_at.is_(None)).scalar_subquery()
_MEMBERS = _FIND_STANDING.add_columns(_NEWEST_ENDS.label("certificate_ends")).order_by(_S.device)
_FIND_CERTIFICATE = sa.select(*(_C[field.name] for field in fields(Certificate)))


class SqlInvites:
    """Invitations."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def save(self, invite: Invite) -> None:
        """Insert, or replace."""
        await self._rows.upsert(_INVITES, {field.name: getattr(invite, field.name) for field in fields(Invite)})

    async def get(self, invite: str, *, lock: bool = False) -> Invite | None:
        """Read one by id."""
        row = await self._rows.one(_FIND_INVITE.where(_I.id == invite), lock=lock)
        return None if row is None else Invite(*row)

    async def find(self, hashed: str, *, lock: bool = False) -> Invite | None:
        """Read the one with a secret of this hash."""
        row = await self._rows.one(_FIND_INVITE.where(_I.hash == hashed), lock=lock)
        return None if row is None else Invite(*row)

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` that ended before a time, those that ended first; return how many."""
        ended_at = sa.func.coalesce(_I.ended_at, _I.expires_at)
        first = sa.select(_I.id).where(ended_at < before).order_by(ended_at, _I.id).limit(limit)
        return await self._rows.change(sa.delete(_INVITES).where(_I.id.in_(first)))

    async def all(self) -> tuple[Invite, ...]:
        """List them, newest first."""
        rows = await self._rows.all(_FIND_INVITE.order_by(_I.created_at.desc(), _I.id.desc()))
        return tuple(Invite(*row) for row in rows)


class SqlMembers:
    """Standings and certificates."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def standing(self, device: DeviceId, *, lock: bool = False) -> Standing | None:
        """Read a device's; None if it was never enrolled."""
        row = await self._rows.one(_FIND_STANDING.where(_S.device == device), lock=lock)
        return None if row is None else Standing(*row)

    async def save(self, standing: Standing) -> None:
        """Insert, or replace."""
        await self._rows.upsert(_STANDINGS, {field.name: getattr(standing, field.name) for field in fields(Standing)})

    async def certify(self, certificate: Certificate) -> None:
        """Insert; raise `AlreadyExists` if there is one of that serial."""
        async with self._rows.all_or_nothing():
            values = {field.name: getattr(certificate, field.name) for field in fields(Certificate)}
            await self._rows.change(sa.insert(_CERTIFICATES).values(values))

    async def certificates(self, device: DeviceId) -> tuple[Certificate, ...]:
        """List a device's, newest first."""
        query = _FIND_CERTIFICATE.where(_C.device == device).order_by(_C.issued_at.desc(), _C.serial)
        return tuple(Certificate(*row) for row in await self._rows.all(query))

    async def forget(self, device: DeviceId, before: datetime) -> None:
        """Delete a device's certificates that ended before a time: none of them can be renewed."""
        await self._rows.change(sa.delete(_CERTIFICATES).where(_C.device == device, _C.ends < before))

    async def revoke(self, device: DeviceId, at: datetime) -> None:
        """Revoke all that a device has by now."""
        mine = sa.and_(_C.device == device, _C.revoked_at.is_(None))
        await self._rows.change(sa.update(_CERTIFICATES).where(mine).values(revoked_at=at))

    async def all(self) -> tuple[Member, ...]:
        """List every device that was enrolled, by id."""
        return tuple(Member(Standing(*row[:-1]), row[-1]) for row in await self._rows.all(_MEMBERS))

    async def barred(self, since: datetime) -> tuple[Barred, dict[str, DeviceId]]:
        """Say who is shut out, leaving out certificates that ended before `since`; and whose each serial is."""
        devices = await self._rows.all(sa.select(_S.device).where(_S.disabled_at.is_not(None)))
        revoked = sa.select(_C.serial, _C.device).where(_C.revoked_at.is_not(None), _C.ends >= since)
        owners = {row.serial: DeviceId(row.device) for row in await self._rows.all(revoked)}
        return Barred(frozenset(DeviceId(row.device) for row in devices), frozenset(owners)), owners
