"""Who may be in the fleet, in the store in memory."""

from dataclasses import replace
from datetime import datetime

from headwater_control.core.identity import Barred, Certificate, Invite, Member, Standing
from headwater_wire.ids import DeviceId

from tests.fakes.memory_tables import Tables, must_lack


class MemoryInvites:
    """Invitations."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def save(self, invite: Invite) -> None:
        self._tables.change().invites[invite.id] = invite

    async def get(self, invite: str, *, lock: bool = False) -> Invite | None:
        return (self._tables.change() if lock else self._tables).invites.get(invite)

    async def find(self, hashed: str, *, lock: bool = False) -> Invite | None:
        rows = (self._tables.change() if lock else self._tables).invites.values()
        return next((invite for invite in rows if invite.hash == hashed), None)

    async def forget(self, before: datetime, limit: int) -> int:
        rows = self._tables.change().invites
        ended = sorted((one.ended_at or one.expires_at, one.id) for one in rows.values())
        gone = [invite for at, invite in ended if at < before][:limit]
        for invite in gone:
            del rows[invite]
        return len(gone)

    async def all(self) -> tuple[Invite, ...]:
        rows = self._tables.invites.values()
        return tuple(sorted(rows, key=lambda invite: (invite.created_at, invite.id), reverse=True))


class MemoryMembers:
    """Standings and certificates."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def standing(self, device: DeviceId, *, lock: bool = False) -> Standing | None:
        return (self._tables.change() if lock else self._tables).standings.get(device)

    async def save(self, standing: Standing) -> None:
        self._tables.change().standings[standing.device] = standing

    async def certify(self, certificate: Certificate) -> None:
        rows = self._tables.change().certificates
        must_lack(rows, certificate.serial, "certificate")
        rows[certificate.serial] = certificate

    async def certificates(self, device: DeviceId) -> tuple[Certificate, ...]:
        mine = [row for row in self._tables.certificates.values() if row.device == device]
        by_serial = sorted(mine, key=lambda row: row.serial)
        return tuple(sorted(by_serial, key=lambda row: row.issued_at, reverse=True))

    async def forget(self, device: DeviceId, before: datetime) -> None:
        rows = self._tables.change().certificates
        for serial in [row.serial for row in rows.values() if row.device == device and row.ends < before]:
            del rows[serial]

    async def revoke(self, device: DeviceId, at: datetime) -> None:
        rows = self._tables.change().certificates
        for serial, row in rows.items():
            if row.device == device and row.revoked_at is None:
                rows[serial] = replace(row, revoked_at=at)

    async def all(self) -> tuple[Member, ...]:
        return tuple(
            Member(standing, self._ends(device)) for device, standing in sorted(self._tables.standings.items())
        )

    def _ends(self, device: DeviceId) -> datetime | None:
        rows = self._tables.certificates.values()
        return max((row.ends for row in rows if row.device == device and row.revoked_at is None), default=None)

    async def barred(self, since: datetime) -> tuple[Barred, dict[str, DeviceId]]:
        rows = self._tables.certificates.values()
        owners = {row.serial: row.device for row in rows if row.revoked_at is not None and row.ends >= since}
        devices = (row.device for row in self._tables.standings.values() if row.disabled_at is not None)
        return Barred(frozenset(devices), frozenset(owners)), owners
