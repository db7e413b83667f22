"""Downward MQTT: assignments, deployments and rings, sent soon or dropped, since Sync heals what is lost."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import aiomqtt
from headwater_wire.exchange import order_to
from headwater_wire.messages import Order, Withdrawal
from headwater_wire.signing import Signer
from headwater_wire.topics import down
from headwater_wire.v1 import fleet_pb2 as fleet
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from headwater_control.link import Link
from headwater_control.ports import Assign, Deploy, Downward, Ring, Withdraw

log = logging.getLogger(__name__)

QUEUE = 10_000  # messages: about 5 MB
EXPIRY_S = 60  # a device that comes later than that syncs anyway
_AT_ONCE = 64  # publications waiting for the broker's acknowledgement
_ACKNOWLEDGED_WITHIN_S = 10.0


class MqttPublisher:
    """Implements ports.Publisher: `publish` only queues, `run` sends."""

    def __init__(self, link: Link, signer: Callable[[], Signer]) -> None:
        """Send over `link`; `signer` gives the key that signs at the moment."""
        self._link = link
        self._signer = signer
        self._queue: asyncio.Queue[tuple[float, Downward]] = asyncio.Queue(QUEUE)

    async def publish(self, messages: Sequence[Downward]) -> None:
        """Queue for sending; what doesn't fit is dropped with a line in the log."""
        now = asyncio.get_running_loop().time()
        for sent, message in enumerate(messages):
            try:
                self._queue.put_nowait((now, message))
            except asyncio.QueueFull:
                dropped = len(messages) - sent
                log.warning("the broker is behind by %d messages: dropped %d; devices heal by Sync", QUEUE, dropped)
                return

    async def run(self) -> None:
        """Send what is queued, over a connection that is renewed when it breaks."""
        await self._link.keep("publisher", self._session)

    async def _session(self, client: aiomqtt.Client) -> None:
        async with asyncio.TaskGroup() as senders:
            for number in range(_AT_ONCE):
                senders.create_task(self._send(client), name=f"publisher.sender-{number}")
            senders.create_task(_notice(client), name="publisher.notice")

    async def _send(self, client: aiomqtt.Client) -> None:
        loop = asyncio.get_running_loop()
        while True:
            queued_at, message = await self._queue.get()
            left_s = EXPIRY_S - (loop.time() - queued_at)
            if left_s < 1:
                log.info("dropped a message for %s that waited %d s for the broker", message.device, EXPIRY_S)
                continue
            topic, payload = encode(message, self._signer())
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = int(left_s)
            await client.publish(topic, payload, qos=1, properties=properties, timeout=_ACKNOWLEDGED_WITHIN_S)


async def _notice(client: aiomqtt.Client) -> None:
    """Raise when the connection breaks, even while there is nothing to send."""
    async for _ in client.messages:
        pass


def encode(message: Downward, signer: Signer) -> tuple[str, bytes]:
    """Give a message's topic and payload, signed if it is an order."""
    match message:
        case Assign(device, revision, task):
            kind, order = "task", Order(device, revision, task)
        case Withdraw(device, revision, task_id, reason):
            kind, order = "task", Order(device, revision, Withdrawal(task_id, reason))
        case Deploy(device, revision, deployment):
            kind, order = "deployment", Order(device, revision, deployment)
        case Ring(device, revision):
            return down(device, "sync"), fleet.SyncRing(revision=revision).SerializeToString()
    return down(device, kind), signer.order(order_to(order)).SerializeToString()
