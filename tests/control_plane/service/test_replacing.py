"""What the audit log tells when a box takes the place of another."""

import json
from datetime import timedelta
from typing import Any

from headwater_control.core.audit import Entry
from headwater_control.core.identity import Standing
from headwater_control.service import audit, enrolment
from headwater_control.service.world import World
from headwater_wire.ids import DeviceId

from tests.fakes.clock import FakeClock
from tests.fakes.stranger import Stranger

HOUR = timedelta(hours=1)


async def invited(world: World, **how: Any) -> tuple[str, bytes]:
    """Make an invitation; give its id and its secret."""
    made, secret = await enrolment.invite(world, ttl=HOUR, **how)
    return made.id, secret


async def last(world: World) -> tuple[Entry, Any, Any]:
    """Give the newest entry, and what it says of before and after."""
    entry = (await audit.list_entries(world, None, 1))[0]
    return entry, json.loads(entry.before), json.loads(entry.after)


async def test_a_replacement_is_told_with_both_serials(world: World) -> None:
    """As an action of its own, in one shape before and after; the first enrolment has nothing before."""
    first, secret = await invited(world, labels={"site": "north"})
    old = Stranger(world)
    serial = (await old.enroll(secret)).record.serial
    entry, before, after = await last(world)
    assert (entry.action, before) == ("device.enroll", {})
    assert after == {"invite": first, "serial": serial, "labels": [["site", "north"]]}
    second, secret = await invited(world, device="box-1", labels={"site": "south"})
    new = (await Stranger(world).enroll(secret)).record.serial
    entry, before, after = await last(world)
    assert (entry.action, entry.subject) == ("device.replace", "box-1")
    assert before == {"invite": first, "serial": serial, "labels": [["site", "north"]]}
    assert after == {"invite": second, "serial": new, "labels": [["site", "south"]]}


async def test_the_serial_before_is_of_the_newest_certificate(world: World) -> None:
    """The one it had renewed; the invitation is still the one by which it came in."""
    first, secret = await invited(world)
    box = Stranger(world)
    await box.enroll(secret)
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(1)
    renewed = (await box.renew()).record.serial
    await Stranger(world).enroll((await invited(world, device="box-1"))[1])
    _, before, _ = await last(world)
    assert before == {"invite": first, "serial": renewed}


async def test_a_box_that_never_had_a_certificate_is_replaced_too(world: World) -> None:
    """One that registered on loopback, and was shut out and let in: there is no serial before."""
    async with world.store.write() as tx:
        await tx.members.save(Standing(DeviceId("box-1"), world.clock.now()))
    await Stranger(world).enroll((await invited(world, device="box-1"))[1])
    entry, before, _ = await last(world)
    assert (entry.action, before) == ("device.replace", {"invite": "", "serial": ""})
