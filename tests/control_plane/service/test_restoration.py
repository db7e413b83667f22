"""A control plane that was restored from a backup, and boxes that have seen more than it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import step as agent_step
from headwater_agent.core.session import Box as Agent
from headwater_agent.core.session import DatasetFact, ServerTime, Session
from headwater_agent.core.telling import sync_request
from headwater_control.core.fleet import Beat
from headwater_control.core.identity import InviteState
from headwater_control.core.runs import RunSpec
from headwater_control.ports import Assign, Ring
from headwater_control.service import audit, devices, enrolment, runs
from headwater_control.service.restoration import Restored, settle
from headwater_control.service.sync import sync
from headwater_control.service.world import World
from headwater_wire.eras import ERA, era, first_of, restored
from headwater_wire.ids import DeviceId
from headwater_wire.messages import SyncRequest

from tests.control_plane.service.driver import step
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import MODEL, Box

BACKUP = Restored(datetime(2026, 1, 2, tzinfo=UTC), "0.1.0", 7, ("ab" * 32,))


async def test_a_restored_database_begins_an_era(world: World) -> None:
    """Each device's revision is beyond whatever it was told, so that all of them come and sync; the log tells of it."""
    boxes = [await Box(world, name).register() for name in ("box-1", "box-2")]
    before = [(await box.sync()).revision for box in boxes]
    await settle(world, BACKUP)
    for box, revision in zip(boxes, before, strict=True):
        box.revision = revision + 12_345  # of what it was told after the backup
        assert (await box.sync()).revision == revision + ERA
    (entry,) = await audit.list_entries(world, after=None, limit=1)
    assert (entry.action, entry.subject) == ("control.restore", "2026-01-02T00:00:00+00:00")
    assert "abab" in entry.after
    assert (await audit.verify(world)).problem == ""


async def test_open_invitations_end_with_a_restore(world: World) -> None:
    """Since it is not known whether they were used; others stay as they are."""
    open_one, _ = await enrolment.invite(world, ttl=timedelta(hours=1))
    used, _ = await enrolment.invite(world, ttl=timedelta(hours=1))
    async with world.store.write() as tx:
        await tx.invites.save(replace(used, used=1))
    await settle(world, BACKUP)
    states = {invite.id: invite.state(world.clock.now()) for invite in await enrolment.list_invites(world)}
    assert states == {open_one.id: InviteState.WITHDRAWN, used.id: InviteState.USED}


async def test_a_box_that_registers_after_a_restore_begins_in_the_new_era(world: World) -> None:
    """It may have been enrolled after the backup, and been told as many changes as it is told from now on."""
    world = replace(world, settings=replace(world.settings, first_revision=first_of(1)))
    box = await Box(world, "late", revision=1).register()
    assert (await box.sync()).revision == ERA


async def test_a_box_that_knows_more_than_the_database_begins_an_era_of_its_own(world: World) -> None:
    """It was enrolled after the backup: what it is told from then on is newer than all it was ever told."""
    box = DeviceId("late")
    unknown = await sync(world, SyncRequest(box, 1, 41))
    assert unknown.hello_wanted and unknown.revision == 41
    late = await Box(world, "late", revision=unknown.revision).register()
    assert (await late.sync()).revision == 41 + ERA
    assert (await late.sync()).revision == 41 + ERA


async def test_a_box_can_not_count_beyond_what_a_database_holds(world: World) -> None:
    """A revision that no control plane can have told changes nothing."""
    box = await Box(world, "box-1").register()
    known = (await box.sync()).revision
    box.revision = 2**62
    assert (await box.sync()).revision == known


def rung(world: World, device: DeviceId) -> bool:
    """Say whether a device was told to sync since this was asked last."""
    assert isinstance(world.publisher, FakePublisher)
    found = any(isinstance(message, Ring) for message in world.publisher.to(device))
    world.publisher.sent.clear()
    return found


async def beat(world: World, device: DeviceId, revision: int) -> None:
    """Let a box's heartbeat show a revision."""
    await devices.heartbeats(world, [(Beat(device, 1, revision, world.clock.now()), ())])


async def test_a_box_that_is_ahead_is_rung_by_its_first_heartbeat_and_takes_its_task(world: World) -> None:
    """It ignores what it is told at a revision that it has left behind: it syncs, and both agree."""
    box = Box(world, "box-1", revision=12)
    agent = Session(Agent(box.id, (DatasetFact("digits", "f1"),)), revision=12, seen=12, time=ServerTime(1))
    await box.sync()
    await box.register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    assert isinstance(world.publisher, FakePublisher)
    (assigned,) = [message for message in world.publisher.to(box.id) if isinstance(message, Assign)]
    agent, commands = agent_step(agent, on.Assigned(assigned.revision, assigned.task), at_s=0.0)
    assert commands == ()
    await beat(world, box.id, agent.revision)
    assert rung(world, box.id)
    request = sync_request(agent, epoch=1, hello_hash=box.hello_hash())
    agent, commands = agent_step(agent, on.Synced(request, await sync(world, request)), at_s=0.0)
    assert do.Fetch(assigned.task) in commands
    await beat(world, box.id, agent.revision)
    assert not rung(world, box.id)


async def test_a_box_that_is_ahead_of_a_database_restored_in_place_is_rung_by_its_heartbeat(world: World) -> None:
    """Nobody said that it was restored; one that is up to date is left alone."""
    box = await Box(world, "box-1").register()
    await beat(world, box.id, 0)
    assert not rung(world, box.id)
    await beat(world, box.id, 12)
    assert rung(world, box.id)
    box.revision = 12
    agreed = (await box.sync()).revision
    await beat(world, box.id, agreed)
    assert not rung(world, box.id)


async def test_a_heartbeat_from_before_an_era_rings_once(world: World) -> None:
    """It was on its way while both agreed: one Sync more, after which the box is left alone."""
    box = await Box(world, "box-1", revision=12).register()
    agreed = (await box.sync()).revision
    await beat(world, box.id, 12)
    assert rung(world, box.id)
    assert (await box.sync()).revision == agreed
    await beat(world, box.id, agreed)
    assert not rung(world, box.id)


async def test_a_backup_that_is_restored_twice_begins_two_eras(world: World) -> None:
    """Else a box that lived through the first would take the second for the same, and ignore what it counts less."""
    box = await Box(world, "box-1").register()
    numbers = [restored(0, datetime(2026, 1, 2, 3, minute, tzinfo=UTC)) for minute in (4, 5)]
    told = []
    for number in numbers:
        async with world.store.write() as tx:
            await tx.devices.save(replace((await tx.devices.several([box.id]))[box.id], revision=7))
        began = replace(world, settings=replace(world.settings, first_revision=first_of(number)))
        await settle(began, BACKUP)
        async with world.store.read() as tx:
            told.append((await tx.devices.several([box.id]))[box.id].revision)
    assert [era(revision) for revision in told] == numbers and numbers[0] < numbers[1]
    assert max(told) < 2**62 and restored(2**31, datetime(2026, 1, 2, tzinfo=UTC)) == 2**31 + 1
