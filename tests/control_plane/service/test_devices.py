"""The fleet: who is there, who is behind, and why a box is not training."""

from dataclasses import replace

import pytest
from headwater_control.core.fleet import Beat
from headwater_control.core.runs import RunSpec
from headwater_control.ports import Ring
from headwater_control.service import devices, runs
from headwater_control.service.errors import NotFound
from headwater_control.service.world import World
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Column, Condition, ConditionState, DatasetCard, Phase, Progress

from tests.control_plane.service.driver import step
from tests.fakes.clock import FakeClock
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import DIGITS, MODEL, Box


def rings(world: World) -> list[object]:
    """List what was sent."""
    assert isinstance(world.publisher, FakePublisher)
    return list(world.publisher.sent)


async def why(world: World, box: Box) -> tuple[str, ...]:
    """Ask why a box is not training."""
    return (await devices.show_device(world, box.id)).why_not_training


async def test_presence_takes_the_highest_epoch_and_sequence(world: World) -> None:
    """A last will that arrives after the birth of the next life changes nothing."""
    box = await Box(world, "box-1").register()
    await devices.presence(world, box.id, True, 2, 1)
    await devices.presence(world, box.id, False, 1, 2)
    assert (await devices.show_device(world, box.id)).device.online
    await devices.presence(world, box.id, False, 2, 2)
    assert not (await devices.show_device(world, box.id)).device.online


async def test_a_hello_of_an_older_life_is_ignored(world: World) -> None:
    """Upward messages arrive in no order: the newest life's Hello stays."""
    box = await Box(world, "box-1", epoch=2).register()
    old = Box(world, "box-1", epoch=1, engines=())
    await devices.register(world, old.id, old.hello(), old.hello_hash())
    assert (await devices.show_device(world, box.id)).device.engines == ("native",)


async def test_a_box_that_is_not_ready_is_not_asked_and_says_why(world: World) -> None:
    """The round waits and says for what; told that the box is ready, it asks."""
    hot = Condition("temperature", ConditionState.UNMET, "it has 91 °C")
    box = await Box(world, "box-1", conditions=(hot, Condition("gpu", ConditionState.UNKNOWN))).register()
    assert (await devices.show_device(world, box.id)).device.conditions == box.conditions
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    (waiting,) = (await runs.show_run(world, run.id)).rounds
    assert waiting.round.reason == "waits for 1 able device; of 1 in the cohort 1 is not ready to train (temperature)"
    assert (await why(world, box))[0] == "it is not ready to train: it has 91 °C"
    ready = replace(box, conditions=(replace(hot, state=ConditionState.OK, why=""),))
    await ready.register()
    await step(world, run.id)
    assert (await ready.sync()).tasks and await why(world, box) == ()


async def test_a_heartbeat_that_is_behind_is_rung(world: World) -> None:
    """A device that missed a message, and one that is unknown, are asked to sync; one that is up to date is not."""
    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    sent = len(rings(world))
    now = world.clock.now()
    stranger = DeviceId("stranger")
    await devices.heartbeats(world, [(Beat(box.id, 1, 0, now), ()), (Beat(stranger, 1, 5, now), ())])
    assert rings(world)[sent:] == [Ring(box.id, 1), Ring(stranger, 0)]
    await devices.heartbeats(world, [(Beat(box.id, 1, 1, now), ())])
    assert len(rings(world)) == sent + 2


async def test_a_heartbeat_of_another_registration_is_rung(world: World) -> None:
    """The registration was lost on its way: Sync asks for it again. An agent that does not say which is left alone."""
    box = await Box(world, "box-1").register()
    now, shown = world.clock.now(), box.hello_hash()[:8]
    await devices.heartbeats(world, [(Beat(box.id, 1, 0, now, shown), ()), (Beat(box.id, 1, 0, now), ())])
    assert not rings(world)
    await devices.heartbeats(world, [(Beat(box.id, 1, 0, now, "another0"), ())])
    assert rings(world) == [Ring(box.id, 0)]


async def test_heartbeats_tell_progress(world: World) -> None:
    """Phase, step and loss of an open task stand where people look."""
    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    task = (await box.sync()).tasks[0]
    progress = Progress(task.id, Phase.TRAINING, 3, 10, 0.25)
    await devices.heartbeats(world, [(Beat(box.id, 1, 1, world.clock.now()), (progress,))])
    record = (await devices.show_device(world, box.id)).tasks[0]
    assert (record.phase, record.step, record.steps, record.loss) == (Phase.TRAINING, 3, 10, 0.25)


async def test_an_unknown_device_is_not_found(world: World) -> None:
    """Showing it says so; a presence of it changes nothing."""
    await devices.presence(world, DeviceId("stranger"), True, 1, 1)
    with pytest.raises(NotFound, match="there is no device 'stranger'"):
        await devices.show_device(world, DeviceId("stranger"))


async def test_a_box_says_why_it_is_not_training(world: World) -> None:
    """Each obstacle has a sentence that names what to look at."""
    able = await Box(world, "able", {"site": "a"}).register()
    assert await why(world, able) == ("no run is asking: start one with `headwater run start`",)
    elsewhere = await Box(world, "elsewhere", {"site": "b"}).register()
    bare = await Box(world, "bare", {"site": "a"}, engines=()).register()
    other = await Box(world, "other", {"site": "a"}, (DatasetCard("faults", 3),)).register()
    empty = await Box(world, "empty", {"site": "a"}, (DatasetCard("digits", 0, problem="it is empty"),)).register()
    wide_columns = (Column("x", "float32", (9,)), *DIGITS.columns[1:])
    wide = await Box(world, "wide", {"site": "a"}, (DatasetCard("digits", 3, wide_columns),)).register()
    half = await Box(world, "half", {"site": "a"}, (DatasetCard("digits", 3, DIGITS.columns[:1]),)).register()
    run = await runs.start(world, RunSpec(MODEL, "digits", cohort=(("site", "a"),)))
    about = f"run {run.id}: "
    assert await why(world, able) == (about + "its next round is about to ask",)
    await step(world, run.id)
    assert await why(world, able) == ()
    assert await why(world, elsewhere) == (about + "it is not in the run's cohort: it lacks the label site=a",)
    assert await why(world, bare) == (about + "no training engine is installed on it",)
    assert await why(world, other) == (about + "it has no dataset named digits (it has: faults)",)
    assert await why(world, empty) == (about + "its dataset digits can't be used: it is empty",)
    assert await why(world, wide) == (
        about + "its dataset digits does not fit: x is float32[9], the model reads float32[4]",
    )
    assert await why(world, half) == (about + "its dataset digits does not fit: no column feeds label (columns: x)",)
    await able.upload((await able.sync()).tasks[0])
    assert await why(world, able) == (about + "its task of round 1 has succeeded; waiting for the round to end",)


async def test_an_offline_box_says_since_when(world: World) -> None:
    """Its last word, or its silence, is dated."""
    box = await Box(world, "box-1").register()
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(world.settings.silence_s)
    assert (await why(world, box))[0] == "it has not been heard of since 2026-01-05 08:00:00 UTC"
    await devices.presence(world, box.id, False, 1, 2)
    assert (await why(world, box))[0] == "it is offline since 2026-01-05 08:03:00 UTC"


async def test_devices_are_listed_by_label(world: World) -> None:
    """All of the labels must match."""
    for name, site in (("b", "x"), ("a", "x"), ("c", "y")):
        await Box(world, name, {"site": site, "kind": "cam"}).register()
    found = await devices.list_devices(world, (("kind", "cam"), ("site", "x")))
    assert [listed.device.id for listed in found] == ["a", "b"]
