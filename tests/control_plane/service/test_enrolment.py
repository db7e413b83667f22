"""How a box gets its certificate: the rules, and what the audit log tells."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from headwater_control.core.audit import Caller, Entry
from headwater_control.core.authority import Principal, Role
from headwater_control.core.identity import A_DAY, Standing
from headwater_control.ports import Issued, Issuer
from headwater_control.service import audit, enrolment, standing
from headwater_control.service.authority import acting
from headwater_control.service.caller import calling
from headwater_control.service.errors import Conflict, Forbidden, Invalid
from headwater_control.service.world import World
from headwater_wire.errors import Malformed, WireError
from headwater_wire.ids import DeviceId

from tests.control_plane.service.enrolling import BOX, HOUR, NORTH, clock, invited, known
from tests.fakes.clock import FakeClock
from tests.fakes.stranger import Stranger
from tests.fakes.world import Box, fake_world
from tests.support import stores
from tests.support.requests import new_key, request


async def entries(world: World) -> list[Entry]:
    """List what the audit log tells of devices."""
    return [entry for entry in await audit.list_entries(world, None, 100) if entry.action.startswith("device.")]


async def test_a_box_comes_in_by_an_invitation(world: World) -> None:
    """Under the id it would like, with a certificate for its key; the invitation is used once."""
    issued = await Stranger(world).enroll(await invited(world))
    assert (issued.record.device, issued.record.ends) == (BOX, clock(world).now() + timedelta(days=90))
    assert await known(world) == (Standing(BOX, clock(world).now()), (issued.record,))
    assert [(one.used, one.uses) for one in await enrolment.list_invites(world)] == [(1, 1)]


async def test_an_invitation_for_one_device_decides_its_id_and_labels(world: World) -> None:
    """Whatever the box would like to be called."""
    issued = await Stranger(world, "king").enroll(await invited(world, device="box-1", labels=NORTH))
    assert issued.record.device == BOX
    assert (await known(world))[0] == Standing(BOX, clock(world).now(), (("site", "north"),))
    assert await known(world, DeviceId("king")) == (None, ())


async def test_labels_that_an_invitation_gave_beat_those_of_a_hello(world: World) -> None:
    """A box that says it is elsewhere is where it was invited to; its other labels are its own."""
    await Stranger(world).enroll(await invited(world, labels=NORTH))
    box = await Box(world, "box-1", {"site": "south", "line": "a"}).register()
    async with world.store.read() as tx:
        found = await tx.devices.get(box.id)
    assert found is not None
    assert found.labels == (("line", "a"), ("site", "north"))


async def test_a_replay_is_refused_and_audited(world: World) -> None:
    """By another key the second use of a single-use invitation is none; the log says from where it was tried."""
    secret = await invited(world)
    await Stranger(world).enroll(secret)
    with calling(Caller("a box", "192.0.2.66", "request-9")), pytest.raises(Forbidden, match="once only"):
        await Stranger(world, "box-2").enroll(secret)
    assert await known(world, DeviceId("box-2")) == (None, ())
    last = (await entries(world))[-1]
    assert (last.action, last.subject, last.source) == ("device.enroll-refused", "box-2", "192.0.2.66")
    assert "once only" in json.loads(last.after)["reason"]


async def test_the_same_box_may_ask_again(world: World) -> None:
    """Its answer was lost: with the same key it gets a certificate again, and no use is counted, even after the end."""
    secret = await invited(world)
    box = Stranger(world)
    first = await box.enroll(secret)
    await clock(world).advance(HOUR.total_seconds() + 1)
    second = await box.enroll(secret)
    assert second.record.key == first.record.key
    assert [one.used for one in await enrolment.list_invites(world)] == [1]
    assert {one.revoked_at for one in (await known(world))[1]} == {None}


async def test_who_asks_again_after_it_was_shut_out_or_replaced_is_refused(world: World) -> None:
    """Neither of them lets a former key in."""
    secret = await invited(world)
    box = Stranger(world)
    await box.enroll(secret)
    await standing.disable(world, BOX, "stolen")
    with pytest.raises(Forbidden):
        await box.enroll(secret)
    another = await invited(world, device="box-1")
    with pytest.raises(Forbidden, match="headwater device enable box-1"):  # an operator can't undo what an admin did
        await Stranger(world).enroll(another)
    await standing.enable(world, BOX)
    await Stranger(world).enroll(another)
    with pytest.raises(Forbidden):
        await box.enroll(secret)


async def test_only_an_admin_puts_a_box_in_anothers_place(world: World) -> None:
    """It shuts that out, so an operator's invitation for a device that is there is refused when it is made."""
    await Stranger(world).enroll(await invited(world))
    with acting(Principal("token:north", Role.OPERATOR)):
        with pytest.raises(Forbidden, match="which only an admin may"):
            await invited(world, device="box-1")
        await invited(world, device="box-2")


async def test_an_invitation_from_before_a_box_was_there_does_not_take_its_place(world: World) -> None:
    """Whoever made it did not know of that box, and may not have had the right to."""
    early = await invited(world, device="box-1")
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(60)
    await Stranger(world).enroll(await invited(world))
    with pytest.raises(Forbidden, match="there is a device 'box-1' already"):
        await Stranger(world).enroll(early)


async def test_an_id_that_the_box_insists_on_is_not_changed(world: World) -> None:
    """An invitation for another one stays unused, and says which it is for."""
    secret = await invited(world, device="gate-7")
    csr = request(new_key())
    with pytest.raises(Forbidden, match=r"is for 'gate-7', but agent\.id in the box's configuration is 'box-1'"):
        await enrolment.enroll(world, secret, "box-1", csr, insists=True)
    assert (await enrolment.enroll(world, secret, "box-1", csr)).record.device == "gate-7"


async def test_certificates_do_not_pile_up(world: World) -> None:
    """So many a day for one device, and no more; long after their end they are forgotten."""
    box = Stranger(world)
    secret = await invited(world)
    for _ in range(A_DAY):
        await box.enroll(secret)
    with pytest.raises(Forbidden):
        await box.enroll(secret)
    async with world.store.read() as tx:
        assert len(await tx.members.certificates(BOX)) == A_DAY
    async with world.store.write() as tx:
        await tx.members.forget(BOX, world.clock.now())
        assert len(await tx.members.certificates(BOX)) == A_DAY
        await tx.members.forget(BOX, world.clock.now() + timedelta(days=91))
        assert await tx.members.certificates(BOX) == ()


async def test_a_taken_id_is_not_given_to_another(world: World) -> None:
    """An open invitation does not put a box in another's place, and stays unused."""
    await Stranger(world).enroll(await invited(world))
    secret = await invited(world)
    with pytest.raises(Forbidden, match="invite --device box-1"):
        await Stranger(world).enroll(secret)
    await Stranger(world, "box-2").enroll(secret)


async def test_a_box_that_takes_the_place_of_another_ends_it(world: World) -> None:
    """Its certificates are revoked, it is cut off at once, and can't renew; the newcomer is enabled."""
    cut: list[DeviceId] = []
    world.roll.on_bar(cut.append)
    old = Stranger(world)
    serial = (await old.enroll(await invited(world))).record.serial
    assert cut == []
    await Stranger(world).enroll(await invited(world, device="box-1"))
    assert cut == [BOX]
    assert world.roll.barred.bars(BOX, serial)
    with pytest.raises(Forbidden, match="another box has taken this one's place"):
        await old.renew()


async def test_an_invitation_for_several_admits_so_many(world: World) -> None:
    """And one more is refused."""
    secret = await invited(world, uses=3)
    for number in range(3):
        await Stranger(world, f"box-{number}").enroll(secret)
    with pytest.raises(Forbidden, match="3 times only"):
        await Stranger(world, "box-9").enroll(secret)


async def test_an_invitation_ends(world: World) -> None:
    """After its time nobody is admitted."""
    secret = await invited(world, ttl=timedelta(minutes=5))
    await clock(world).advance(300)
    with pytest.raises(Forbidden, match="expired"):
        await Stranger(world).enroll(secret)


async def test_what_nobody_made_is_refused(world: World) -> None:
    """An unknown secret, half a secret, an id that is none, a request that is none."""
    with pytest.raises(Forbidden, match="no such invitation"):
        await Stranger(world).enroll(bytes(32))
    with pytest.raises(Malformed):
        await Stranger(world).enroll(bytes(31))
    secret = await invited(world)
    with pytest.raises(Malformed):
        await Stranger(world, "a/b").enroll(secret)
    with pytest.raises(Malformed):
        await enrolment.enroll(world, secret, "box-1", b"rust")
    assert [one.used for one in await enrolment.list_invites(world)] == [0]


@pytest.mark.parametrize("opener", stores.EVERY)
@pytest.mark.parametrize("same_id", [False, True], ids=["two ids", "one id"])
async def test_of_two_boxes_at_once_a_single_use_invitation_lets_one_in(
    opener: stores.Opener, tmp_path: Path, same_id: bool
) -> None:
    """On each store; the other hears why."""
    async with opener(tmp_path) as store:
        world = fake_world(tmp_path, store=store)
        secret = await invited(world)
        boxes = [Stranger(world, "box-1" if same_id else f"box-{number}") for number in range(4)]
        results = await asyncio.gather(*(box.enroll(secret) for box in boxes), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Forbidden"] * 3 + ["Issued"]


@pytest.mark.parametrize("opener", stores.EVERY)
async def test_of_two_boxes_at_once_one_gets_an_id(opener: stores.Opener, tmp_path: Path) -> None:
    """Though each has an invitation of its own; whoever is in stays in."""
    async with opener(tmp_path) as store:
        world = fake_world(tmp_path, store=store)
        secrets = [await invited(world) for _ in range(4)]
        results = await asyncio.gather(*(Stranger(world).enroll(secret) for secret in secrets), return_exceptions=True)
        refused = [result for result in results if isinstance(result, BaseException)]
        assert len(refused) == 3
        assert all(isinstance(result, Forbidden | Conflict) for result in refused)
        assert [one.revoked_at for one in (await known(world))[1]] == [None]


async def test_what_makes_no_sense_is_no_invitation(world: World) -> None:
    """No time or too much of it, no use, several uses for one device, names that are none."""
    for how in (
        {"ttl": timedelta(0)},
        {"ttl": timedelta(days=31)},
        {"uses": 0},
        {"uses": 100_001},
        {"uses": 2, "device": "box-1"},
        {"device": "a/b"},
        {"labels": {"a b": "c"}},
        {"labels": {"a": ""}},
    ):
        with pytest.raises((Invalid, WireError)):
            await invited(world, **how)
    assert await enrolment.list_invites(world) == ()


async def test_of_an_invitation_nothing_is_kept_that_lets_one_in(world: World) -> None:
    """Neither the secret anywhere nor its hash in the audit log, which tells who invited whom."""
    with calling(Caller("token:boss", "192.0.2.1", "request-7")):
        made, secret = await enrolment.invite(world, device="box-1", labels=NORTH, ttl=HOUR)
    (entry,) = await entries(world)
    assert (entry.action, entry.subject, entry.who) == ("device.invite", made.id, "token:boss")
    assert made.hash not in repr(entry)
    assert secret.hex() not in repr((entry, made, await enrolment.list_invites(world)))
    assert made.created_by == "token:boss"
    await Stranger(world).enroll(secret)
    last = (await entries(world))[-1]
    assert (last.action, last.subject) == ("device.enroll", "box-1")
    assert json.loads(last.after)["invite"] == made.id


async def test_nobody_invites_beyond_their_reach(world: World) -> None:
    """Neither to other labels nor into the place of a box out of reach; other invitations are not shown."""
    await invited(world)
    await Box(world, "box-2", {"site": "south"}).register()
    with acting(Principal("token:north", Role.ADMIN, (("site", "north"),))):
        for how in ({}, {"labels": {"site": "south"}}, {"device": "box-2", "labels": NORTH}):
            with pytest.raises(Forbidden, match="site=north"):
                await invited(world, **how)
        await invited(world, labels=NORTH)
        await invited(world, labels=NORTH, device="box-3")
        assert [one.labels for one in await enrolment.list_invites(world)] == [(("site", "north"),)] * 2
    await Stranger(world).enroll(await invited(world, device="box-1", labels={"site": "south"}))
    with acting(Principal("token:north", Role.OPERATOR, (("site", "north"),))), pytest.raises(Forbidden):
        await invited(world, labels=NORTH, device="box-1")


# Renewal


class Counting:
    """An issuer that counts what it is asked for."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._issuer, name)

    def device(self, device: DeviceId, csr: bytes, now: datetime) -> Issued:
        """Issue, and count."""
        self.asked += 1
        return self._issuer.device(device, csr, now)


async def test_nobody_who_is_refused_is_issued_anything(world: World) -> None:
    """A certificate may be another machine's work: neither a dead invitation nor a box that is out sets it going."""
    counting = Counting(world.issuer)
    counted = replace(world, issuer=counting)
    secret = await invited(counted)
    stranger = Stranger(counted)
    await stranger.enroll(secret)
    assert counting.asked == 1
    with pytest.raises(Forbidden):
        await Stranger(counted, DeviceId("box-2")).enroll(secret)
    with pytest.raises(Forbidden):
        await Stranger(counted).enroll(await invited(counted))  # there is such a box already
    assert counting.asked == 1
    for _ in range(A_DAY - 1):
        await stranger.renew()
    with pytest.raises(Conflict):
        await stranger.renew()
    assert counting.asked == A_DAY
    await standing.disable(counted, BOX, "stolen")
    with pytest.raises(Forbidden):
        await stranger.renew()
    assert counting.asked == A_DAY
