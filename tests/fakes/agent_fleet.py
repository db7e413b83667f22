"""A control plane's MQTT side as a test sees it: everything devices say, and a way to tell them something."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiomqtt
from headwater_wire import exchange, topics
from headwater_wire.ids import DeviceId, TaskId
from headwater_wire.messages import Deployment, Order, Task, Withdrawal
from headwater_wire.v1 import fleet_pb2 as fleet

from tests.support.signing import SIGNER


def order(said: Order) -> fleet.SignedOrder:
    """Sign an order as the control plane of these tests."""
    return SIGNER.order(exchange.order_to(said))


@dataclass
class FleetEar:
    """Hears what goes up, in order of arrival; tells what goes down."""

    client: aiomqtt.Client
    presences: list[fleet.Presence] = field(default_factory=list)
    hellos: list[fleet.Hello] = field(default_factory=list)
    beats: list[fleet.Heartbeat] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    async def assign(self, revision: int, task: Task) -> None:
        """Send a task."""
        await self._tell(task.device, "task", order(Order(task.device, revision, task)))

    async def cancel(self, device: DeviceId, revision: int, task: TaskId) -> None:
        """Withdraw one."""
        await self._tell(device, "task", order(Order(device, revision, Withdrawal(task, "over"))))

    async def deploy(self, revision: int, deployment: Deployment) -> None:
        """Want a version installed."""
        await self._tell(deployment.device, "deployment", order(Order(deployment.device, revision, deployment)))

    async def ring(self, device: DeviceId, revision: int = 0) -> None:
        """Ask for a Sync."""
        await self._tell(device, "sync", fleet.SyncRing(revision=revision))

    async def raw(self, topic: str, payload: bytes) -> None:
        """Send anything."""
        await self.client.publish(topic, payload, qos=1)

    async def _tell(self, device: DeviceId, kind: str, message: fleet.SignedOrder | fleet.SyncRing) -> None:
        await self.raw(topics.down(device, kind), message.SerializeToString())

    async def listen(self) -> None:
        """Sort what comes in, until cancelled."""
        async for message in self.client.messages:
            _, _, kind = topics.parse(str(message.topic))
            payload = message.payload
            assert isinstance(payload, bytes)
            self.kinds.append(kind)
            match kind:
                case "presence":
                    self.presences.append(fleet.Presence.FromString(payload))
                case "hello":
                    self.hellos.append(fleet.Hello.FromString(payload))
                case "heartbeat":
                    self.beats.append(fleet.Heartbeat.FromString(payload))


@asynccontextmanager
async def fleet_ear(port: int) -> AsyncIterator[FleetEar]:
    """Connect, and listen."""
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("hw/v1/d/+/up/#", qos=1)
        ear = FleetEar(client)
        listening = asyncio.create_task(ear.listen())
        try:
            yield ear
        finally:
            listening.cancel()
            await asyncio.wait([listening])
