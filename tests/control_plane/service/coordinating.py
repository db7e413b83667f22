"""Runs a coordinator for as long as a test needs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headwater_control.service.coordinator import Coordinator
from headwater_control.service.world import World

from tests.fakes.clock import settle


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
