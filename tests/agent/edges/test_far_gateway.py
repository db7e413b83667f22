"""The gateway far away: over a satellite, or behind a queue of others that come back."""

from headwater_agent.config import Address
from headwater_agent.edges.uplink import open_uplink
from headwater_wire.messages import SyncRequest

from tests.fakes.agent_bundle import DEVICE
from tests.fakes.agent_gateway import ScriptedGateway, serving
from tests.faults.faults import Faults
from tests.faults.proxy import proxy
from tests.support.signing import trust


async def test_a_connection_may_take_its_time() -> None:
    """More than a second there and back: the channel comes about at its first attempt, and Sync is answered."""
    async with (
        serving(ScriptedGateway()) as port,
        proxy("127.0.0.1", port, faults=Faults(latency_s=0.65)) as link,
        open_uplink(Address("127.0.0.1", link.port), DEVICE, trust(), patience_s=8.0) as uplink,
    ):
        await uplink.sync(SyncRequest(DEVICE, 1, 0))
        assert link.tally.connections == 1
