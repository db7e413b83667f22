"""A box that says what it may without end, over MQTT: it costs the others nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.packets import Publish
from headwater_control.gates.mqtt import MqttGate
from headwater_control.link import Link
from headwater_control.ports import Store, Transaction
from headwater_control.service.world import World
from headwater_wire import convert
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Hello, Inventory
from headwater_wire.topics import up
from headwater_wire.v1 import fleet_pb2 as fleet

from tests.control_plane.broker.raw_client import connected
from tests.support.brokers import device, ruled_broker
from tests.support.waiting import until

FLOODER, HONEST = DeviceId("flooder"), DeviceId("honest")
HELLO = convert.hello_to(Hello(1, Inventory(), (), (), ("native",))).SerializeToString()
AT_ONCE = 200  # fewer than the broker's receive maximum: all of it is by the rules


@dataclass
class Slow:
    """A store that lets writers wait until it is told, and counts how many of them it took until a box was gone."""

    store: Store
    go: asyncio.Event = field(default_factory=asyncio.Event)
    writes: int = 0
    writes_until_gone: int = 0

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a view."""
        return self.store.read()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Open a transaction, when it is time."""
        await self.go.wait()
        self.writes += 1
        async with self.store.write() as tx:
            yield tx
        async with self.store.read() as tx:
            row = await tx.devices.get(HONEST)
        if not self.writes_until_gone and row is not None and row.seq == 3 and not row.online:
            self.writes_until_gone = self.writes


@dataclass
class Flood:
    """What a box says without end; `sent` counts what the broker has read of it."""

    kind: str
    qos: int
    sent: int = 0

    def said(self, number: int) -> bytes:
        """Say something new each time."""
        if self.kind == "presence":
            return fleet.Presence(online=True, epoch=1, seq=number).SerializeToString()
        if self.kind == "heartbeat":
            return fleet.Heartbeat(epoch=1, revision=number).SerializeToString()
        return HELLO

    async def run(self, link: Link) -> None:
        """Keep to the broker's rules, and to no other."""
        numbers = count(1)
        async with connected(link.port, FLOODER) as (client, _):
            while True:
                payloads = [self.said(next(numbers)) for _ in range(AT_ONCE)]
                topic = up(FLOODER, self.kind)
                await client.send(
                    *(Publish(topic, said, self.qos, self.qos and at) for at, said in enumerate(payloads, 1))
                )
                if self.qos:
                    for _ in payloads:
                        await client.next()
                else:
                    assert await client.so_far() == []
                self.sent += AT_ONCE


@pytest.mark.parametrize("kind", ["presence", "hello", "heartbeat"])
@pytest.mark.parametrize("qos", [0, 1])
async def test_while_one_box_floods_another_is_taken(world: World, kind: str, qos: int) -> None:
    """Its hello, its birth and its goodbye are written with the next batches, however much came before them."""
    store = Slow(world.store)
    flood = Flood(kind, qos)
    async with ruled_broker(limits=Limits(rest_s=0.01)) as link, asyncio.TaskGroup() as tasks:
        gate = MqttGate(replace(world, store=store), link)
        running = [tasks.create_task(gate.run(), name="gate")]
        await until(lambda: gate.ready, "the gate listens")
        running.append(tasks.create_task(flood.run(link), name="flood"))
        await until(lambda: flood.sent >= 50 * AT_ONCE, "ten thousand of its messages are in")
        async with device(link, HONEST) as box:
            await box.publish(up(HONEST, "hello"), HELLO, qos=1)
            for seq, online in ((2, True), (3, False)):
                told = fleet.Presence(online=online, epoch=1, seq=seq).SerializeToString()
                await box.publish(up(HONEST, "presence"), told, qos=1)
        before = flood.sent
        store.go.set()
        await until(lambda: store.writes_until_gone > 0, "the honest box is known, and gone")
        assert store.writes_until_gone < 50  # the flood alone would be three hundred batches of arrivals
        assert gate.tally.dropped == gate.tally.failed == 0
        await until(lambda: flood.sent > before, "the flood goes on")
        for task in running:
            task.cancel()
