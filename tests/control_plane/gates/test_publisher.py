"""The way down: what the publisher sends arrives at the device it is meant for, and at no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from headwater_control.edges import publisher as edge
from headwater_control.edges.publisher import MqttPublisher, encode
from headwater_control.link import Link
from headwater_control.ports import Assign, Deploy, Downward, Ring, Withdraw
from headwater_wire import exchange
from headwater_wire.ids import DeviceId, Digest, ModelName, RolloutId, RunId, TaskId, VersionId
from headwater_wire.messages import Blob, Deployment, Order, Plan, Task, Withdrawal
from headwater_wire.signing import read_order
from headwater_wire.topics import down_filter, parse
from headwater_wire.v1 import fleet_pb2 as fleet

from tests.support.brokers import device, ruled_broker
from tests.support.signing import SIGNER

BOX, OTHER = DeviceId("box-1"), DeviceId("box-2")
BLOB = Blob(Digest("a" * 64), 10)
TASK = Task(TaskId("t-1"), RunId("r-1"), 1, BOX, "digits", BLOB, BLOB, VersionId("digits-1"), Plan(), 1000)
SHIPPED = Deployment(BOX, RolloutId("o-1"), ModelName("digits"), VersionId("digits-1"), 3, BLOB, BLOB, 1e-3)
EVERY: tuple[Downward, ...] = (
    Assign(BOX, 4, TASK),
    Withdraw(BOX, 5, TASK.id, "cancelled"),
    Deploy(BOX, 6, SHIPPED),
    Ring(BOX, 7),
)


@asynccontextmanager
async def running(link: Link) -> AsyncIterator[MqttPublisher]:
    """Let a publisher send."""
    publisher = MqttPublisher(link, lambda: SIGNER)
    task = asyncio.create_task(publisher.run(), name="publisher")
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("message", EVERY, ids=lambda message: type(message).__name__)
async def test_each_message_arrives_with_an_expiry(message: Downward) -> None:
    """A subscribed device gets every kind, on its own topic, and the broker is told when it is stale."""
    async with ruled_broker() as link, device(link, BOX) as box, device(link, OTHER) as other:
        await box.subscribe(down_filter(BOX), qos=1)
        await other.subscribe(down_filter(OTHER), qos=1)
        async with running(link) as publisher:
            await publisher.publish([message])
            async with asyncio.timeout(10):
                got = await anext(aiter(box.messages))
    assert (str(got.topic), got.payload, got.qos) == (*encode(message, SIGNER), 1)
    assert 0 < got.properties.MessageExpiryInterval <= edge.EXPIRY_S  # type: ignore[union-attr]  # paho sets it
    assert len(other.messages) == 0


def test_what_is_encoded_can_be_read_by_the_agent() -> None:
    """Topic and payload hold the device, the revision and the whole record."""
    assign, withdraw, deploy, ring = (encode(message, SIGNER) for message in EVERY)
    assert [parse(topic)[2] for topic, _ in (assign, withdraw, deploy, ring)] == ["task", "task", "deployment", "sync"]
    keys = {SIGNER.id: SIGNER.public}
    orders = [
        exchange.order_from(read_order(fleet.SignedOrder.FromString(payload), keys))
        for _, payload in (assign, withdraw, deploy)
    ]
    assert orders == [Order(BOX, 4, TASK), Order(BOX, 5, Withdrawal(TASK.id, "cancelled")), Order(BOX, 6, SHIPPED)]
    assert fleet.SyncRing.FromString(ring[1]).revision == 7


async def test_what_waited_for_the_broker_is_sent_when_it_comes() -> None:
    """Messages published before there is a connection are queued, not lost."""
    async with ruled_broker() as link, device(link, BOX) as box:
        await box.subscribe(down_filter(BOX), qos=1)
        publisher = MqttPublisher(link, lambda: SIGNER)
        await publisher.publish([Ring(BOX, 1)])
        sending = asyncio.create_task(publisher.run(), name="publisher")
        async with asyncio.timeout(10):
            got = await anext(aiter(box.messages))
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert str(got.topic).endswith("/dn/sync")


async def test_with_the_broker_away_publishing_neither_waits_nor_raises(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the queue's bound messages are dropped with a line that says how many."""
    publisher = MqttPublisher(Link("127.0.0.1", 1), lambda: SIGNER)
    async with asyncio.timeout(5):
        await publisher.publish([Ring(BOX, revision) for revision in range(edge.QUEUE + 7)])
    assert "dropped 7" in caplog.text
