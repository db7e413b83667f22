"""The whole agent as a process: a real broker, a scripted gateway, a real worker with the constant engine."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from headwater_control.edges.broker.server import serve
from headwater_wire.messages import Rejected

from tests.fakes.agent_bundle import DEVICE, offered
from tests.fakes.agent_fleet import FleetEar, fleet_ear
from tests.fakes.agent_gateway import ScriptedGateway, serving
from tests.fakes.agent_home import AgentProcess, Home, restarted, until


@dataclass
class World:
    """Everything around the agent."""

    home: Home
    file: Path
    gateway: ScriptedGateway
    ear: FleetEar


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Start broker, gateway and a listener."""
    gateway = ScriptedGateway()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(serve("127.0.0.1", 0))
        port = await stack.enter_async_context(serving(gateway))
        ear = await stack.enter_async_context(fleet_ear(broker.port))
        home = Home(tmp_path, broker.port, port)
        yield World(home, home.write(), gateway, ear)


async def test_a_task_is_trained_uploaded_and_forgotten(world: World) -> None:
    """From registration to receipt: the delta arrives once, and nothing of it stays on the box."""
    async with AgentProcess(world.file) as agent:
        await until(lambda: world.gateway.requests, "its first Sync")
        task = offered(world.gateway, world.home.folder)
        world.gateway.open(task)
        await world.ear.assign(world.gateway.revision, task)
        await until(lambda: task.id in world.gateway.deltas, "the delta")
        await until(lambda: not list((world.home.state / "spool").iterdir()), "the spool to be empty")
        agent.send(signal.SIGTERM)
        assert await agent.ended(5.0) == 0, agent.log
    assert world.ear.kinds[:2] == ["presence", "hello"]
    assert [(p.online, p.epoch) for p in world.ear.presences] == [(True, 1), (False, 1)]
    assert world.gateway.metrics[task.id].examples == 8
    assert world.ear.hellos[-1].datasets[0].examples == 10
    assert world.gateway.requests[0].device == DEVICE
