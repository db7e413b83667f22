"""Runs a coordinator for as long as a test needs it, and boxes that do as they are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headwater_control.ports import Assign
from headwater_control.service import runs
from headwater_control.service.coordinator import Coordinator
from headwater_control.service.runs import RunView
from headwater_control.service.world import World
from headwater_wire.ids import RunId
from headwater_wire.messages import Evaluated, TaskReport

from tests.fakes.clock import settle
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import METRICS, Box


@asynccontextmanager
async def coordinating(world: World, holder: str = "a") -> AsyncIterator[Coordinator]:
    """Run a coordinator."""
    coordinator = Coordinator(world, holder)
    task = asyncio.create_task(coordinator.run(), name=f"test.coordinator.{holder}")
    await settle()
    try:
        yield coordinator
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


async def show(world: World, run: RunId) -> RunView:
    """Show a run once nothing moves any more."""
    await settle()
    return await runs.show_run(world, run)


async def obey(publisher: FakePublisher, boxes: list[Box]) -> None:
    """Let each box do what it was sent, and only that."""
    for message in list(publisher.sent):
        publisher.sent.remove(message)
        box = next(box for box in boxes if box.id == message.device)
        if isinstance(message, Assign) and message.task.plan.train:
            await box.upload(message.task)
        elif isinstance(message, Assign):
            await box.sync(TaskReport(message.task.id, Evaluated(METRICS)))
    await settle()
