"""What a broker that is not ours may say of devices: nothing that decides anything. They show it by Sync themselves."""

from dataclasses import replace

import pytest
from headwater_control.core.fleet import Beat, Device
from headwater_control.core.runs import RunSpec
from headwater_control.service import devices, runs
from headwater_control.service.sync import sync
from headwater_control.service.world import World
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Hello, Phase, Progress, SyncAnswer, SyncRequest

from tests.control_plane.service.driver import step
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import MODEL, Box

HUGE = (1 << 63) - 1


@pytest.fixture
def world(world: World) -> World:
    """A control plane whose broker is another's."""
    return replace(world, settings=replace(world.settings, broker_vouches=False))


async def shows(world: World, box: Box) -> SyncAnswer:
    """Sync, with the registration along."""
    return await sync(world, SyncRequest(box.id, box.epoch, box.revision, box.hello_hash(), hello=box.hello()))


async def known(world: World, device: str = "box-1") -> Device | None:
    """Read a device's row."""
    async with world.store.read() as tx:
        return await tx.devices.get(DeviceId(device))


async def forged(world: World, hello: Hello, device: str = "box-1") -> None:
    """Have the broker say that a device registers so."""
    await devices.register(world, DeviceId(device), hello, "f" * 64)


async def test_a_registration_is_taken_from_the_device_itself(world: World) -> None:
    """Its Sync makes it known and online; the answer does not ask for it again."""
    box = Box(world, "box-1", {"site": "south"})
    answer = await shows(world, box)
    assert not answer.hello_wanted
    device = await known(world)
    assert device is not None
    assert (dict(device.labels), device.epoch, device.online) == ({"site": "south"}, 1, True)


async def test_a_device_that_nobody_enrolled_is_not_made_up(world: World) -> None:
    """No row, so no task; it is only told to come, if there is such a one."""
    await forged(world, Box(world, "phantom").hello(), "phantom")
    assert await known(world, "phantom") is None
    assert isinstance(world.publisher, FakePublisher)
    assert len(world.publisher.to(DeviceId("phantom"))) == 1


async def test_labels_and_datasets_are_not_changed_by_hearsay(world: World) -> None:
    """The box is rung, shows what it has, and stays what it was."""
    box = Box(world, "box-1", {"site": "south"})
    await shows(world, box)
    before = await known(world)
    await forged(world, replace(box.hello(), labels=(("site", "north"),), datasets=()))
    assert await known(world) == before
    assert not (await box.sync()).hello_wanted


@pytest.mark.parametrize("online", [True, False])
async def test_no_presence_makes_a_life_up(world: World, online: bool) -> None:
    """An epoch beyond the box's own would silence it, for good if it is the largest there is."""
    box = Box(world, "box-1")
    await shows(world, box)
    await devices.presence(world, box.id, online, HUGE, 1)
    assert (await box.sync()).epoch == 1
    await devices.presence(world, box.id, False, 1, 2)  # its real last will
    device = await known(world)
    assert device is not None
    assert not device.online


async def test_no_heartbeat_makes_a_life_up(world: World) -> None:
    """One of a later life than the box has shown is no sign of it."""
    box = Box(world, "box-1")
    await shows(world, box)
    await devices.heartbeats(world, [(Beat(box.id, HUGE, 0, world.clock.now(), ""), ())])
    assert (await box.sync()).epoch == 1


async def test_no_heartbeat_of_a_made_up_life_keeps_a_task_alive(world: World) -> None:
    """What it tells of progress is passed over with it."""
    box = Box(world, "box-1")
    await shows(world, box)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    (task,) = (await box.sync()).tasks
    line = Progress(task.id, Phase.TRAINING, 7, 9)
    await devices.heartbeats(world, [(Beat(box.id, HUGE, 0, world.clock.now(), ""), (line,))])
    async with world.store.read() as tx:
        found = await tx.tasks.get(task.id)
    assert found is not None
    assert found.step == 0


async def test_a_box_that_begins_anew_is_known_by_its_sync(world: World) -> None:
    """The epoch it shows itself counts at once, and its presence and heartbeats with it."""
    box = Box(world, "box-1")
    await shows(world, box)
    again = replace(box, epoch=2)
    assert (await shows(world, again)).epoch == 2
    await devices.presence(world, box.id, False, 2, 2)
    device = await known(world)
    assert device is not None
    assert (device.epoch, device.online) == (2, False)
