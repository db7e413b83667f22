"""What tests of enrolment and of renewal begin with."""

from datetime import timedelta
from typing import Any

from headwater_control.core.identity import Certificate, Standing
from headwater_control.service import enrolment
from headwater_control.service.world import World
from headwater_wire.ids import DeviceId

from tests.fakes.clock import FakeClock

BOX = DeviceId("box-1")
HOUR = timedelta(hours=1)
NORTH = {"site": "north"}


def clock(world: World) -> FakeClock:
    """Give the world's clock."""
    assert isinstance(world.clock, FakeClock)
    return world.clock


async def invited(world: World, **how: Any) -> bytes:
    """Make an invitation; give its secret."""
    return (await enrolment.invite(world, ttl=how.pop("ttl", HOUR), **how))[1]


async def known(world: World, device: DeviceId = BOX) -> tuple[Standing | None, tuple[Certificate, ...]]:
    """Read what is known of a device."""
    async with world.store.read() as tx:
        return await tx.members.standing(device), await tx.members.certificates(device)
