"""The use case at the first start after a restore: what happened since the backup is not known any more."""

from dataclasses import dataclass, replace
from datetime import datetime

from headwater_wire.eras import next_era

from headwater_control.core.audit import deed
from headwater_control.core.identity import InviteState
from headwater_control.service.work import work
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class Restored:
    """What is known of a backup that this database came from. `lacking` are blobs that it should have had."""

    made_at: datetime
    headwater: str
    audit_entries: int
    lacking: tuple[str, ...] = ()


async def settle(world: World, restored: Restored) -> None:
    """Begin an era: every device syncs, and learns that what it was told since is void. Open invitations end.

    To do it twice, since a crash came between it and whoever notes that it was done, begins two eras and harms nobody.
    """
    now = world.clock.now()
    async with work(world) as unit:
        for device in await unit.tx.devices.matching():
            begun = max(next_era(device.revision), world.settings.first_revision)
            await unit.tx.devices.save(replace(device, revision=begun))
        for invite in await unit.tx.invites.all():  # it may have been used since, or withdrawn
            if invite.state(now) is InviteState.OPEN:
                await unit.tx.invites.save(replace(invite, ended_at=now))
        unit.deeds.append(deed("control.restore", restored.made_at.isoformat(timespec="seconds"), None, restored))
        unit.fleet_changed = True
