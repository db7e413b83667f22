"""Which devices are listed, and what is said of those that are shut out or never came."""

from datetime import timedelta
from typing import Any

import pytest
from headwater_control.core.authority import Principal, Role
from headwater_control.core.fleet import DeviceState
from headwater_control.service import devices, enrolment, standing
from headwater_control.service.authority import acting
from headwater_control.service.errors import NotFound
from headwater_control.service.world import World
from headwater_wire.ids import DeviceId

from tests.fakes.clock import FakeClock
from tests.fakes.stranger import Stranger
from tests.fakes.world import Box

NORTH = (("site", "north"),)


async def enrolled(world: World, name: str, **labels: str) -> Stranger:
    """Enrol a box, whose agent does not come."""
    box = Stranger(world, name)
    _, secret = await enrolment.invite(world, labels=labels, ttl=timedelta(hours=1))
    await box.enroll(secret)
    return box


async def listed(world: World, **how: Any) -> dict[str, str]:
    """Give each listed device's state."""
    return {found.device.id: found.state.value for found in await devices.list_devices(world, **how)}


async def test_a_box_that_never_came_is_listed_as_enrolled(world: World) -> None:
    """Among the others by id, with the labels of its invitation, until it registers; shown, it says what is missing."""
    for name in ("box-1", "box-3"):
        await Box(world, name).register()
    await enrolled(world, "box-2", site="north")
    assert await listed(world) == {"box-1": "online", "box-2": "enrolled", "box-3": "online"}
    assert await listed(world, labels=NORTH) == {"box-2": "enrolled"}
    view = await devices.show_device(world, DeviceId("box-2"))
    assert (view.registered, view.device.labels) == (False, NORTH)
    assert "headwater-agent run" in view.why_not_training[0]
    await Box(world, "box-2").register()
    assert (await listed(world))["box-2"] == "online"


async def test_who_is_shut_out_is_listed_as_such(world: World) -> None:
    """Disabled, whether it ever came or not; expired once its certificate is, until it has renewed it."""
    came, _ = await enrolled(world, "came"), await enrolled(world, "never")
    await Box(world, "came").register()
    for name in ("came", "never"):
        await standing.disable(world, DeviceId(name), "stolen")
    assert await listed(world) == {"came": "disabled", "never": "disabled"}
    assert (await devices.show_device(world, DeviceId("never"))).disabled_reason == "stolen"
    for name in ("came", "never"):
        await standing.enable(world, DeviceId(name))
    assert await listed(world) == {"came": "offline", "never": "enrolled"}
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(90 * 86_400.0)
    assert await listed(world) == {"came": "expired", "never": "expired"}
    await came.renew()
    assert await listed(world) == {"came": "offline", "never": "expired"}


async def test_a_limited_caller_sees_no_other_sites_newcomer(world: World) -> None:
    """Neither in the list nor by its name."""
    await enrolled(world, "south", site="south")
    await enrolled(world, "north", site="north")
    await Box(world, "elsewhere", {"site": "south"}).register()
    with acting(Principal("token:north", Role.VIEWER, NORTH)):
        assert await listed(world) == {"north": "enrolled"}
        with pytest.raises(NotFound, match="there is no device 'south'"):
            await devices.show_device(world, DeviceId("south"))


async def test_a_disabled_box_that_says_hello_is_not_registered(world: World) -> None:
    """What its connection still brought is dropped: neither a first Hello nor a newer one changes the fleet."""
    await enrolled(world, "box-1")
    await standing.disable(world, DeviceId("box-1"), "stolen")
    box = await Box(world, "box-1", {"site": "b"}).register()
    view = await devices.show_device(world, box.id)
    assert (view.registered, view.state) == (False, DeviceState.DISABLED)
    await standing.enable(world, box.id)
    await box.register()
    await standing.disable(world, box.id, "stolen")
    await Box(world, "box-1", {"site": "c"}, epoch=2).register()
    view = await devices.show_device(world, box.id)
    assert (view.device.epoch, view.device.labels, view.device.online) == (1, (("site", "b"),), False)
