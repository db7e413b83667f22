"""Shutting a device out, and letting it in again: at once, with all that hangs on it."""

import json
from dataclasses import replace

import pytest
from headwater_control.core.audit import Caller, Entry
from headwater_control.core.authority import Principal, Role
from headwater_control.core.runs import RoundState, RunSpec, TaskState
from headwater_control.service import audit, runs, standing
from headwater_control.service.authority import acting
from headwater_control.service.caller import calling
from headwater_control.service.errors import Conflict, Forbidden, NotFound
from headwater_control.service.world import World
from headwater_wire.ids import DeviceId, RunId

from tests.control_plane.service.driver import step
from tests.fakes.world import MODEL, Box

ONE = DeviceId("box-1")


async def training(world: World, boxes: int = 2) -> tuple[RunId, list[Box]]:
    """Start a run that has asked these boxes."""
    found = [await Box(world, f"box-{number}").register() for number in range(1, boxes + 1)]
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1, reproducible=True))
    await step(world, run.id)
    for box in found:
        await box.sync()
    return run.id, found


async def tasks_of(world: World, run: RunId) -> dict[str, tuple[TaskState, bool, str]]:
    """Tell state, whether there is a delta, and the reason, by device."""
    async with world.store.read() as tx:
        found = await tx.tasks.of_round(run, 1)
    return {task.device: (task.state, task.delta is not None, task.reason) for task in found}


async def last(world: World) -> Entry:
    """Give the audit log's last entry."""
    return (await audit.list_entries(world, None, 100))[-1]


async def test_who_is_shut_out_is_cut_off_and_barred(world: World) -> None:
    """Before the answer: no wait for anybody to look; and it counts as offline."""
    cut: list[DeviceId] = []
    world.roll.on_bar(cut.append)
    await Box(world, "box-1").register()
    shut = await standing.disable(world, ONE, "stolen")
    assert (shut.disabled_at, shut.reason) == (world.clock.now(), "stolen")
    assert cut == [ONE]
    assert world.roll.barred.bars(ONE, "any")
    async with world.store.read() as tx:
        found = await tx.devices.get(ONE)
    assert found is not None
    assert not found.online


async def test_its_open_tasks_are_cancelled_and_nobody_elses(world: World) -> None:
    """With the operator's reason, where a person looks."""
    run, _ = await training(world)
    await standing.disable(world, ONE, "stolen")
    found = await tasks_of(world, run)
    assert found["box-1"] == (TaskState.CANCELLED, False, "its device was disabled: stolen")
    assert found["box-2"] == (TaskState.OPEN, False, "")


async def test_what_it_sent_for_a_round_that_collects_is_dropped(world: World) -> None:
    """Another device's delta stays, and the round waits for a replacement or its end."""
    run, boxes = await training(world, 3)
    for box in boxes[:2]:
        await box.upload(box.tasks[0])
    await standing.disable(world, ONE, "")
    found = await tasks_of(world, run)
    assert found["box-1"] == (TaskState.CANCELLED, False, "its device was disabled")
    assert found["box-2"][:2] == (TaskState.SUCCEEDED, True)


async def test_what_is_being_merged_already_is_merged(world: World) -> None:
    """A round that no longer collects keeps its deltas: its merge must not find one missing."""
    run, boxes = await training(world)
    for box in boxes:
        await box.upload(box.tasks[0])
    async with world.store.write() as tx:
        record = await tx.runs.round(run, 1, lock=True)
        assert record is not None
        await tx.runs.save_round(replace(record, state=RoundState.MERGING))
    await standing.disable(world, ONE, "stolen")
    assert (await tasks_of(world, run))["box-1"][:2] == (TaskState.SUCCEEDED, True)


async def test_both_ways_are_audited(world: World) -> None:
    """Who, when, why, and what was before."""
    await Box(world, "box-1").register()
    with calling(Caller("token:boss", "192.0.2.1", "request-7")):
        await standing.disable(world, ONE, "stolen")
        entry = await last(world)
        assert (entry.action, entry.subject, entry.who) == ("device.disable", "box-1", "token:boss")
        assert json.loads(entry.after)["reason"] == "stolen"
        assert json.loads(entry.before)["disabled_at"] is None
        await standing.enable(world, ONE)
    entry = await last(world)
    assert (entry.action, entry.subject, json.loads(entry.after)["disabled_at"]) == ("device.enable", "box-1", None)


async def test_enabled_again_it_may_come_in(world: World) -> None:
    """At once."""
    await Box(world, "box-1").register()
    await standing.disable(world, ONE, "stolen")
    back = await standing.enable(world, ONE)
    assert (back.disabled_at, back.reason) == (None, "")
    assert not world.roll.barred.bars(ONE, "any")


async def test_what_is_so_already_is_told(world: World) -> None:
    """Twice shut out, never shut out, never seen: three sentences, and no audit entry."""
    await Box(world, "box-1").register()
    with pytest.raises(Conflict, match="not disabled"):
        await standing.enable(world, ONE)
    await standing.disable(world, ONE, "stolen")
    before = await last(world)
    with pytest.raises(Conflict, match="disabled already, since"):
        await standing.disable(world, ONE, "again")
    for act in (standing.enable(world, DeviceId("nobody")), standing.disable(world, DeviceId("nobody"), "")):
        with pytest.raises(NotFound, match="device list"):
            await act
    assert await last(world) == before


async def test_nobody_shuts_out_beyond_their_reach(world: World) -> None:
    """Nor lets in."""
    await Box(world, "box-1", {"site": "south"}).register()
    with acting(Principal("token:north", Role.ADMIN, (("site", "north"),))):
        for act in (standing.disable(world, ONE, ""), standing.enable(world, ONE)):
            with pytest.raises(Forbidden, match="site=north"):
                await act
