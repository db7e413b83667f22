"""Everything around an agent that runs as a process: a real broker, a scripted gateway, and an ear at the broker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headwater_control.edges.broker.server import serve

from tests.fakes.agent_fleet import FleetEar, fleet_ear
from tests.fakes.agent_gateway import ScriptedGateway, serving
from tests.fakes.agent_home import Home


@dataclass
class World:
    """What the agent of `file` meets."""

    home: Home
    file: Path
    gateway: ScriptedGateway
    ear: FleetEar


@asynccontextmanager
async def surroundings(folder: Path) -> AsyncIterator[World]:
    """Start broker, gateway and a listener, and write the agent's configuration."""
    gateway = ScriptedGateway()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(serve("127.0.0.1", 0))
        port = await stack.enter_async_context(serving(gateway))
        ear = await stack.enter_async_context(fleet_ear(broker.port))
        home = Home(folder, broker.port, port)
        yield World(home, home.write(), gateway, ear)
