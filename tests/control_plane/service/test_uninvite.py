"""Invitations that are over: withdrawn ones, what is told of each, and for how long."""

import json
from datetime import timedelta

import pytest
from headwater_control.core.audit import Caller, Entry
from headwater_control.core.authority import Principal, Role
from headwater_control.core.identity import KEPT, InviteState, worth_telling
from headwater_control.service import audit, enrolment
from headwater_control.service.authority import acting
from headwater_control.service.caller import calling
from headwater_control.service.coordinator import HEAL_EVERY_S
from headwater_control.service.errors import Conflict, Forbidden, NotFound
from headwater_control.service.refusals import Refusals
from headwater_control.service.world import World

from tests.control_plane.service.coordinating import coordinating
from tests.fakes.clock import FakeClock
from tests.fakes.stranger import Stranger
from tests.support.waiting import until

HOUR = timedelta(hours=1)


def clock(world: World) -> FakeClock:
    """Give the world's clock."""
    assert isinstance(world.clock, FakeClock)
    return world.clock


async def told(world: World, action: str) -> list[Entry]:
    """List what the audit log tells of an action."""
    return [entry for entry in await audit.list_entries(world, None, 1000) if entry.action == action]


async def test_a_withdrawn_invitation_admits_nobody(world: World) -> None:
    """The box hears that it was withdrawn and when; the audit log who did it; to withdraw it again changes nothing."""
    made, secret = await enrolment.invite(world, uses=3, ttl=HOUR)
    await Stranger(world).enroll(secret)
    with calling(Caller("token:boss", "192.0.2.1", "request-7")):
        withdrawn = await enrolment.uninvite(world, made.id)
        assert await enrolment.uninvite(world, made.id) == withdrawn
    assert withdrawn.state(clock(world).now()) is InviteState.WITHDRAWN
    with pytest.raises(Forbidden, match="was withdrawn at 2026-01-05 08:00:00 UTC: ask for another one"):
        await Stranger(world, "box-2").enroll(secret)
    (entry,) = await told(world, "device.uninvite")
    assert (entry.who, entry.subject, json.loads(entry.before)) == ("token:boss", made.id, {"ended_at": None})
    assert made.hash not in repr(entry)


async def test_who_came_in_by_a_withdrawn_invitation_stays_and_gets_nothing_more_by_it(world: World) -> None:
    """It renews by its certificate; the invitation gives it no other, though it asks with the same key."""
    made, secret = await enrolment.invite(world, uses=3, ttl=HOUR)
    box = Stranger(world)
    await box.enroll(secret)
    await enrolment.uninvite(world, made.id)
    with pytest.raises(Forbidden, match="withdrawn"):
        await box.enroll(secret)
    await box.renew()


async def test_what_is_over_anyway_is_not_withdrawn(world: World) -> None:
    """A used one and an expired one: the refusal says how to shut out whom it let in. An unknown one is not there."""
    used, secret = await enrolment.invite(world, ttl=HOUR)
    await Stranger(world).enroll(secret)
    expired, _ = await enrolment.invite(world, ttl=HOUR)
    await clock(world).advance(3600)
    for one, why in ((used, "has been used"), (expired, "expired at")):
        with pytest.raises(Conflict, match=f"{why}.*headwater device disable"):
            await enrolment.uninvite(world, one.id)
    with pytest.raises(NotFound, match="headwater device invites"):
        await enrolment.uninvite(world, "invite-9")
    assert await told(world, "device.uninvite") == []
    states = [one.state(clock(world).now()) for one in await enrolment.list_invites(world)]
    assert states == [InviteState.EXPIRED, InviteState.USED]


async def test_nobody_withdraws_what_they_do_not_see(world: World) -> None:
    """Another site's invitation is not there."""
    made, _ = await enrolment.invite(world, labels={"site": "south"}, ttl=HOUR)
    with acting(Principal("token:north", Role.ADMIN, (("site", "north"),))), pytest.raises(NotFound):
        await enrolment.uninvite(world, made.id)
    with acting(Principal("token:south", Role.OPERATOR, (("site", "south"),))):
        await enrolment.uninvite(world, made.id)


async def test_a_month_after_its_end_an_invitation_is_forgotten(world: World) -> None:
    """Used up, withdrawn or expired; the coordinator looks once an hour. One that is good still is kept."""
    await Stranger(world).enroll((await enrolment.invite(world, ttl=HOUR))[1])
    withdrawn, _ = await enrolment.invite(world, ttl=timedelta(days=30))
    await enrolment.uninvite(world, withdrawn.id)
    await enrolment.invite(world, ttl=timedelta(seconds=1))
    await clock(world).advance((KEPT - HOUR).total_seconds() + 1.5)
    good, _ = await enrolment.invite(world, ttl=timedelta(days=30))

    async def left() -> int:
        return len(await enrolment.list_invites(world))

    async with coordinating(world):
        assert await left() == 4

        async def forgotten() -> bool:
            await clock(world).advance(HEAL_EVERY_S)  # again and again: it does not wait for the database's threads
            return await left() == 1

        await until(forgotten, "three are forgotten")
    assert await enrolment.list_invites(world) == (good,)


async def test_a_dead_invitation_does_not_fill_the_audit_log(world: World) -> None:
    """Tried a hundred times, by whatever names, it makes seven entries that tell how many they stand for."""
    secret = (await enrolment.invite(world, ttl=HOUR))[1]
    other = (await enrolment.invite(world, ttl=HOUR))[1]
    for one in (secret, other):
        await Stranger(world, f"box-{one[0]}-{one[1]}").enroll(one)
    box = Stranger(world)
    for number in range(100):
        box.name = f"box-{number}"
        with pytest.raises(Forbidden, match="has been used"):
            await box.enroll(secret)
    with pytest.raises(Forbidden, match="has been used"):
        await box.enroll(other)
    times = [json.loads(entry.after)["times"] for entry in await told(world, "device.enroll-refused")]
    assert times == [1, 2, 4, 8, 16, 32, 64, 1]


async def test_the_audit_log_says_which_boxes_an_invitation_was_aimed_at(world: World) -> None:
    """Each box whose place was to be taken is told of when it was tried first, however often another was."""
    for name in ("box-1", "box-2"):
        await Stranger(world, name).enroll((await enrolment.invite(world, ttl=HOUR))[1])
    secret = (await enrolment.invite(world, uses=9, ttl=HOUR))[1]
    for name in ("box-1", "box-1", "box-1", "box-2"):
        with pytest.raises(Forbidden, match=f"there is a device '{name}' already"):
            await Stranger(world, name).enroll(secret)
    found = [(entry.subject, json.loads(entry.after)["times"]) for entry in await told(world, "device.enroll-refused")]
    assert found == [("box-1", 1), ("box-1", 2), ("box-2", 1)]


def test_an_invitation_that_is_aimed_at_a_whole_fleet_does_not_fill_the_audit_log() -> None:
    """Beyond a hundred boxes they are counted together, in whatever order they are tried."""
    refusals = Refusals()
    entries = [
        number
        for _ in range(3)
        for number in range(20_000)
        if worth_telling(refusals.count("invite-1", f"box-{number}"))
    ]
    assert set(range(100)) <= set(entries) and len(entries) < 350
