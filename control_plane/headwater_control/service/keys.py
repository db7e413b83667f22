"""The use case around signing keys: the next one."""

from dataclasses import dataclass

from headwater_control.core.audit import deed
from headwater_control.service.authority import must_reach
from headwater_control.service.work import work
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class Rotation:
    """What the audit log tells of it."""

    key: str


async def rotate(world: World) -> str:
    """Make the next key and have every device come to hear of it; give its id. Raises `Forbidden`."""
    must_reach((), "signing keys are the whole fleet's")
    async with work(world) as unit:
        key = world.keyring.rotate(world.clock.now())
        for device in await unit.tx.devices.matching():
            unit.changed(device.id)
        unit.deeds.append(deed("keys.rotate", key, None, Rotation(key)))
    return key
