"""What every implementation of the port `Publisher` promises: run on MQTT to a real broker, and on the fake."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import aiomqtt
import pytest
from headwater_control.edges.publisher import QUEUE, MqttPublisher, encode
from headwater_control.link import Link
from headwater_control.ports import Assign, Deploy, Downward, Publisher, Ring, Withdraw
from headwater_wire.ids import DeviceId
from headwater_wire.topics import down_filter

from tests.fakes.agent_bundle import task
from tests.fakes.agent_world import deployment
from tests.fakes.publisher import FakePublisher
from tests.support.brokers import device, ruled_broker
from tests.support.signing import SIGNER
from tests.support.waiting import until

BOX, OTHER = DeviceId("box-1"), DeviceId("box-2")
EVERY: tuple[Downward, ...] = (
    Assign(BOX, 4, task()),
    Withdraw(BOX, 5, task().id, "cancelled"),
    Deploy(BOX, 6, deployment(1)),
    Ring(BOX, 7),
)
Heard = list[tuple[str, bytes]]
Open = Callable[[], AbstractAsyncContextManager["Target"]]


@dataclass
class Target:
    """A publisher, and what each of the two devices has heard by now: topic and payload."""

    publisher: Publisher
    heard: Callable[[DeviceId], Heard]


async def _listen(client: aiomqtt.Client, heard: Heard) -> None:
    async for message in client.messages:
        assert isinstance(message.payload, bytes)
        heard.append((str(message.topic), message.payload))


def spelled(message: Downward) -> tuple[str, bytes]:
    """Give a message's topic and payload: Ed25519 signs the same in the same way."""
    return encode(message, SIGNER)


@asynccontextmanager
async def mqtt() -> AsyncIterator[Target]:
    """The real one, and two devices that listen at the broker."""
    heard: dict[DeviceId, Heard] = {BOX: [], OTHER: []}
    async with ruled_broker() as link, device(link, BOX) as box, device(link, OTHER) as other:
        publisher = MqttPublisher(link, lambda: SIGNER)
        tasks = [asyncio.create_task(publisher.run(), name="publisher")]
        for name, client in ((BOX, box), (OTHER, other)):
            await client.subscribe(down_filter(name), qos=1)
            tasks.append(asyncio.create_task(_listen(client, heard[name]), name=f"listen.{name}"))
        try:
            yield Target(publisher, heard.__getitem__)
        finally:
            for running in tasks:
                running.cancel()
            await asyncio.wait(tasks)


@asynccontextmanager
async def fake() -> AsyncIterator[Target]:
    """The fake."""
    publisher = FakePublisher()
    yield Target(publisher, lambda name: [spelled(message) for message in publisher.to(name)])


@asynccontextmanager
async def mqtt_without_broker() -> AsyncIterator[Target]:
    """The real one, whose broker is away."""
    publisher = MqttPublisher(Link("127.0.0.1", 1), lambda: SIGNER)
    running = asyncio.create_task(publisher.run(), name="publisher")
    try:
        yield Target(publisher, lambda name: [])
    finally:
        running.cancel()
        await asyncio.wait([running])


@asynccontextmanager
async def fake_without_broker() -> AsyncIterator[Target]:
    """The fake that loses everything."""
    publisher = FakePublisher(deaf=True)
    yield Target(publisher, lambda name: [spelled(message) for message in publisher.to(name)])


@pytest.fixture
async def target(request: pytest.FixtureRequest) -> AsyncIterator[Target]:
    """Each implementation."""
    opener: Open = request.param
    async with opener() as opened:
        yield opened


connected = pytest.mark.parametrize("target", [mqtt, fake], indirect=True)
cut_off = pytest.mark.parametrize("target", [mqtt_without_broker, fake_without_broker], indirect=True)


@connected
async def test_each_message_reaches_its_device_and_no_other(target: Target) -> None:
    """Of every kind, as it was told."""
    others = [replace(message, device=OTHER) for message in EVERY[1:]]
    await target.publisher.publish([*EVERY, *others])
    await until(
        lambda: len(target.heard(BOX)) == len(EVERY) and len(target.heard(OTHER)) == len(others), "the messages"
    )
    assert Counter(target.heard(BOX)) == Counter(map(spelled, EVERY))
    assert Counter(target.heard(OTHER)) == Counter(map(spelled, others))


@connected
async def test_a_burst_arrives_whole(target: Target) -> None:
    """Each message once, in whatever order: a round of a thousand devices is as many tasks at a time."""
    rings = [Ring(name, revision) for revision in range(300) for name in (BOX, OTHER)]
    await asyncio.gather(*(target.publisher.publish(rings[start : start + 100]) for start in range(0, 600, 100)))
    await until(lambda: len(target.heard(BOX)) >= 300 and len(target.heard(OTHER)) >= 300, "six hundred rings")
    for name in (BOX, OTHER):
        assert Counter(target.heard(name)) == Counter(spelled(ring) for ring in rings if ring.device == name)


@connected
async def test_what_is_published_is_what_was_said_then(target: Target) -> None:
    """The caller may go on with its list; to publish nothing is no mistake."""
    messages: list[Downward] = [Ring(BOX, 1)]
    await target.publisher.publish(messages)
    messages[:] = [Ring(BOX, 2)]
    await target.publisher.publish(messages)
    messages.clear()
    await target.publisher.publish(messages)
    await until(lambda: len(target.heard(BOX)) == 2, "both rings")
    assert Counter(target.heard(BOX)) == Counter([spelled(Ring(BOX, 1)), spelled(Ring(BOX, 2))])


@cut_off
async def test_without_a_broker_nothing_is_raised_or_waited_for(target: Target) -> None:
    """However much there is to say: a revision was raised before, so Sync heals what is lost."""
    async with asyncio.timeout(10):
        for message in EVERY:
            await target.publisher.publish([message])
        await target.publisher.publish([Ring(BOX, revision) for revision in range(QUEUE + 1)])
        await target.publisher.publish(EVERY)
    assert target.heard(BOX) == []
