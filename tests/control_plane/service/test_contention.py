"""Use cases side by side on a real PostgreSQL, whose row locks let two of them wait for each other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headwater_control.core.fleet import Beat
from headwater_control.core.runs import RunSpec
from headwater_control.service import devices, runs
from headwater_control.service.world import World
from headwater_wire.messages import Failed, HeldTask, Phase, Progress, TaskReport

from tests.control_plane.service.driver import step
from tests.fakes.world import MODEL, Box, fake_world, import_digits
from tests.support import stores

BOXES, TARGET, ROUNDS = 30, 5, 4
# PostgreSQL looks for a deadlock after a second; whoever waits for less never meets its verdict.
LOCK_WAIT_S = 20.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Put a control plane together on a database of its own."""
    async with stores.postgres(tmp_path, wait_s=LOCK_WAIT_S) as store:
        made = fake_world(tmp_path, store=store)
        await import_digits(made, tmp_path)
        yield made


async def test_devices_that_talk_while_their_round_ends_wait_for_nobody_in_a_circle(world: World) -> None:
    """Heartbeats and syncs of all devices, while rounds end with most tasks open: nothing ends with a deadlock."""
    boxes = [await Box(world, f"box-{number:02d}").register() for number in range(BOXES)]
    spec = RunSpec(MODEL, "digits", rounds=ROUNDS, clients_per_round=TARGET, over_select=BOXES / TARGET)
    run = await runs.start(world, spec)
    talking = [asyncio.create_task(work(world, boxes), name=f"test.{work.__name__}") for work in (_beat, _sync)]
    for _ in range(ROUNDS):
        await step(world, run.id)  # the last round closes, its other tasks are dropped, and everybody is asked anew
        for box in boxes[:TARGET]:
            (task,) = (await box.sync()).tasks
            await box.upload(task)
    for talk in talking:
        assert not talk.done(), talk.exception()
        talk.cancel()
    await asyncio.gather(*talking, return_exceptions=True)


async def _beat(world: World, boxes: list[Box]) -> None:
    """Send everybody's heartbeat, in one batch, over and over."""
    number = 0
    while True:
        number += 1
        await devices.heartbeats(
            world,
            [
                (
                    Beat(box.id, box.epoch, box.revision, world.clock.now()),
                    tuple(Progress(task.id, Phase.TRAINING, number, 1_000_000) for task in box.tasks),
                )
                for box in boxes
            ],
        )


async def _sync(world: World, boxes: list[Box]) -> None:
    """Let one after the other sync, some with a task that failed."""
    while True:
        for number, box in enumerate(boxes[1:]):
            reports = [TaskReport(task.id, Failed("no")) for task in box.tasks if number % 7 == 6]
            await box.sync(*reports, held=tuple(HeldTask(task.id, Phase.FETCHING) for task in box.tasks))
