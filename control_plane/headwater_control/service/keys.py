"""The use case around signing keys: the next one."""

import asyncio
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
    """Make the next key and have every device come to hear of it; give its id. Raises `Forbidden`.

    Three steps, each durable before the next: the key is prepared (accepted, but it signs nothing); the audit log names
    it and every device is called, in one transaction; it is settled, and the week begins after which it signs. Whatever
    ends this after the first or the second step leaves a prepared key, and the next start (`finish`) or the next
    rotation takes that very key the rest of the way: no key signs that the log doesn't name, and none that it names is
    lost. It may name one twice.
    """
    must_reach((), "signing keys are the whole fleet's")
    key = await asyncio.to_thread(world.keyring.prepare)
    await _announce(world, key)
    return key


async def finish(world: World) -> None:
    """Take a rotation that a death has cut short the rest of the way."""
    if key := world.keyring.prepared:
        await _announce(world, key)


async def _announce(world: World, key: str) -> None:
    async with work(world) as unit:
        for device in await unit.tx.devices.matching():
            unit.changed(device.id)
        unit.deeds.append(deed("keys.rotate", key, None, Rotation(key)))
    await asyncio.to_thread(world.keyring.settle, key, world.clock.now())
