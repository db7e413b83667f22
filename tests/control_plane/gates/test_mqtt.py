"""The MQTT gate between a real broker and services on the store in memory."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import aiomqtt
import pytest
from headwater_control.core.fleet import Device
from headwater_control.gates.gathering import TRIES
from headwater_control.gates.mqtt import MqttGate
from headwater_control.link import Link
from headwater_control.ports import Busy, Ring, Store, Transaction
from headwater_control.service import runs
from headwater_control.service.world import World
from headwater_wire import convert
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Hello, Inventory, Phase, Progress
from headwater_wire.topics import down_filter, up
from headwater_wire.v1 import fleet_pb2 as fleet

from tests.control_plane.gates.conftest import Training
from tests.fakes.publisher import FakePublisher
from tests.support.brokers import device, ruled_broker
from tests.support.waiting import until

BOX = DeviceId("box-7")


@dataclass
class Crowded:
    """A store that is busy so often."""

    store: Store
    left: int

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a view."""
        return self.store.read()

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction, or don't."""
        if self.left:
            self.left -= 1
            raise Busy("too many at once")
        return self.store.write()


@pytest.fixture
async def gate(world: World) -> AsyncIterator[MqttGate]:
    """Run the gate on a broker of its own."""
    async with ruled_broker() as link:
        made = MqttGate(world, link)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(made.run(), name="gate")
            await until(lambda: made.ready, "the gate listens")
            yield made
            running.cancel()


async def known(world: World, name: DeviceId = BOX) -> Device | None:
    """Read a device's row."""
    async with world.store.read() as tx:
        return await tx.devices.get(name)


def hello(epoch: int = 1) -> bytes:
    """Encode a registration."""
    inventory = Inventory(hostname="seven")
    return convert.hello_to(Hello(epoch, inventory, (("site", "north"),), (), ("native",))).SerializeToString()


async def test_a_device_registers_and_is_online(gate: MqttGate, world: World) -> None:
    """Birth and hello make a row with labels, inventory and the digest of the hello's bytes."""
    async with device(gate.link, BOX) as client:
        await client.publish(up(BOX, "hello"), hello(), qos=1)
        await until(lambda: gate.tally.taken == 1, "hello is taken")
        birth = fleet.Presence(online=True, epoch=1, seq=1)
        await client.publish(up(BOX, "presence"), birth.SerializeToString(), qos=1)
        await until(lambda: gate.tally.taken == 2, "birth is taken")
    row = await known(world)
    assert row is not None
    assert (row.online, row.labels, row.inventory.hostname) == (True, (("site", "north"),), "seven")
    assert row.hello_hash == hashlib.sha256(hello()).hexdigest()


async def test_progress_in_heartbeats_reaches_the_task(gate: MqttGate, training: Training) -> None:
    """Phase and step of an open task are noted, and the beat itself counts as a sign of life."""
    progress = Progress(training.task.id, Phase.TRAINING, step=3, steps=9, loss=0.25)
    beat = fleet.Heartbeat(epoch=1, revision=training.box.revision, progress=[convert.progress_to(progress)])
    async with device(gate.link, training.box.name) as client:
        await client.publish(up(training.box.id, "heartbeat"), beat.SerializeToString(), qos=0)
        await until(lambda: gate.tally.taken == 1, "the heartbeat is taken")
    (task,) = (await runs.show_run(training.world, training.run)).rounds[0].tasks
    assert (task.phase, task.step, task.steps, task.loss) == (Phase.TRAINING, 3, 9, 0.25)


async def test_many_heartbeats_are_written_together(gate: MqttGate, world: World) -> None:
    """All of a burst are taken, and a device that is behind is rung."""
    names = [DeviceId(f"crowd-{number}") for number in range(200)]
    async with aiomqtt.Client(
        gate.link.host,
        gate.link.port,
        username=gate.link.username,
        password=gate.link.password,
        identifier="control:crowd",
        protocol=aiomqtt.ProtocolVersion.V5,
    ) as crowd:
        for name in names:
            await crowd.publish(up(name, "heartbeat"), fleet.Heartbeat(epoch=1, revision=5).SerializeToString(), qos=0)
        await until(lambda: gate.tally.taken == len(names), "every heartbeat is taken")
    assert isinstance(world.publisher, FakePublisher)
    assert {message.device for message in world.publisher.sent if isinstance(message, Ring)} == set(names)


@pytest.mark.parametrize("kind", ["presence", "hello", "heartbeat"])
@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x0a\xff", b""], ids=["noise", "cut", "empty"])
async def test_a_malformed_message_is_dropped_and_the_gate_lives_on(
    gate: MqttGate, world: World, kind: str, payload: bytes
) -> None:
    """Whatever bytes come, the next good message is taken."""
    async with device(gate.link, BOX) as client:
        await client.publish(up(BOX, kind), payload, qos=1)
        await client.publish(up(BOX, "hello"), hello(), qos=1)
        await until(lambda: gate.tally.taken + gate.tally.malformed == 2, "both are dealt with")
    assert gate.tally.failed == 0
    assert gate.tally.malformed == (1 if payload else 0)  # an empty payload is a message of defaults
    assert await known(world) is not None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("presence", fleet.Presence(online=True, epoch=2**64 - 1)),
        ("presence", fleet.Presence(online=True, seq=2**63)),
        ("heartbeat", fleet.Heartbeat(epoch=2**63)),
        ("heartbeat", fleet.Heartbeat(revision=2**64 - 1)),
    ],
)
async def test_a_number_that_no_database_holds_costs_nobody_else_a_heartbeat(
    gate: MqttGate, kind: str, message: fleet.Presence | fleet.Heartbeat
) -> None:
    """A counter beyond 63 bits is dropped by itself, before it can spoil the batch it would be written with."""
    async with device(gate.link, BOX) as client:
        await client.publish(up(BOX, kind), message.SerializeToString(), qos=1)
        await client.publish(up(BOX, "heartbeat"), fleet.Heartbeat(epoch=1).SerializeToString(), qos=1)
        await until(lambda: gate.tally.taken + gate.tally.malformed == 2, "both are dealt with")
    assert (gate.tally.failed, gate.tally.malformed) == (0, 1)


async def test_a_malformed_topic_or_name_is_dropped(gate: MqttGate, world: World) -> None:
    """A hello whose dataset has no valid name says so in the log, and registers nothing."""
    bad = fleet.Hello(epoch=1, datasets=[fleet.Dataset(name="../etc")]).SerializeToString()
    async with device(gate.link, BOX) as client:
        await client.publish(up(BOX, "hello"), bad, qos=1)
        await until(lambda: gate.tally.malformed == 1, "it is dropped")
    assert await known(world) is None


async def test_a_message_that_is_far_too_large_is_dropped(gate: MqttGate, world: World) -> None:
    """No device can fill the memory with registrations: what is no plausible size is not even parsed."""
    huge = fleet.Hello(epoch=1, engines=["native"] * 20_000).SerializeToString()
    async with device(gate.link, BOX) as client:
        await client.publish(up(BOX, "hello"), huge, qos=1)
        await until(lambda: gate.tally.malformed == 1, "it is dropped")
    assert await known(world) is None


async def test_a_device_is_who_its_topic_says(gate: MqttGate) -> None:
    """Publishing under another's name is refused by the broker, and subscribing to another's messages too."""
    async with device(gate.link, BOX) as client:
        await client.publish(up(DeviceId("box-8"), "hello"), hello(), qos=1)
        await client.publish(up(BOX, "hello"), hello(), qos=1)
        codes = await client.subscribe(down_filter(DeviceId("box-8")))
        assert [getattr(code, "value", code) for code in codes] == [135]
        await until(lambda: gate.tally.taken == 1, "its own hello is taken")
    assert await known(gate.world, DeviceId("box-8")) is None


async def test_what_fails_in_a_service_is_logged_and_the_next_message_is_taken(
    gate: MqttGate, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that gives up once costs one message, not the gate: Sync asks for a lost hello again."""
    object.__setattr__(gate, "world", replace(world, store=None))  # type: ignore[arg-type]  # broken enough
    async with device(gate.link, BOX) as client:
        await client.publish(up(BOX, "hello"), hello(), qos=1)
        await until(lambda: gate.tally.failed == 1, "one is lost")
        object.__setattr__(gate, "world", world)
        await client.publish(up(BOX, "hello"), hello(), qos=1)
        await until(lambda: gate.tally.taken == 1, "the next is taken")
    assert f"hello of {BOX} was lost" in caplog.text


async def test_a_last_will_waits_for_a_database_that_is_busy_for_long(gate: MqttGate, world: World) -> None:
    """It comes only once: acknowledged before it is written, the device would count as online for long."""
    async with device(gate.link, BOX) as client:
        await client.publish(up(BOX, "hello"), hello(), qos=1)
        await until(lambda: gate.tally.taken == 1, "hello is taken")
        gate.world = replace(world, store=Crowded(world.store, TRIES + 1))
        gone = fleet.Presence(online=False, epoch=1, seq=9)
        await client.publish(up(BOX, "presence"), gone.SerializeToString(), qos=1)
        await until(lambda: gate.tally.taken == 2, "it is taken")
    found = await known(world)
    assert found is not None and not found.online and gate.tally.failed == 0


async def test_the_gate_comes_back_when_the_broker_does(world: World) -> None:
    """After the broker's end it is not ready; on a new broker at the same address it is, and takes messages."""
    async with ruled_broker() as link:
        gate = MqttGate(world, Link(link.host, link.port, link.username, link.password))
        running = asyncio.create_task(gate.run(), name="gate")
        await until(lambda: gate.ready, "the gate listens")
    try:
        await until(lambda: not gate.ready, "the gate has noticed")
        async with ruled_broker(link.port) as again:
            object.__setattr__(gate.link, "password", again.password)  # a new broker draws a new one
            await until(lambda: gate.ready, "the gate listens again")
            async with device(again, BOX) as client:
                await client.publish(up(BOX, "hello"), hello(), qos=1)
                await until(lambda: gate.tally.taken == 1, "hello is taken")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert await known(world) is not None
