"""A registered device that wants to do harm: everything it may send, it sends, in every wrong way."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import aiomqtt
import grpc
import numpy as np
from headwater_control.core.runs import TaskRecord, TaskState
from headwater_wire import codecs, convert, digests, exchange, topics
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Blob, Evaluated, Failed, Hello, Inventory, Metrics, Offer, SyncRequest, TaskReport
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1.gateway_pb2_grpc import GatewayStub

from tests.fakes.memory_store import MemoryStore
from tests.simulation import model
from tests.simulation.broker import Client
from tests.simulation.calls import Channel
from tests.simulation.loop import Process
from tests.simulation.machine import Commons

NAME = DeviceId("mallory")
_HELLO = Hello(1, Inventory(hostname=NAME), (), (model.card(7),), ("portable",))
_PATIENCE_S = 20.0
_METRICS = Metrics(examples=7, train_loss=0.5, holdout_examples=4, holdout_loss=0.7, holdout_correct=3, seconds=1.0)


@dataclass
class Stranger:
    """Sees all tasks there are; comes under its own name, since for another's it lacks the certificate."""

    commons: Commons
    store: MemoryStore
    process: Process
    sent: list[tuple[Offer, bytes]] = field(default_factory=list)

    async def live(self) -> None:
        """Do harm until killed."""
        stub = GatewayStub(Channel(self.commons.network, self.commons.gateways, NAME, self.process))  # type: ignore[no-untyped-call]
        deeds: tuple[Callable[[GatewayStub], Awaitable[None]], ...] = (
            self._register, self._sync, self._deliver, self._deliver, self._steal, self._repeat,
            self._spoil, self._lie, self._shout,
        )  # fmt: skip
        await self._register(stub)
        while True:
            await asyncio.sleep(self.commons.fate.chance.random() * 20)
            deed = self.commons.fate.chance.choice(deeds)
            self.commons.history.note(NAME, deed.__name__.strip("_"))
            with suppress(grpc.aio.AioRpcError, aiomqtt.MqttError, TimeoutError, asyncio.InvalidStateError):
                async with asyncio.timeout(_PATIENCE_S):
                    await deed(stub)

    async def _register(self, stub: GatewayStub) -> None:
        await self._publish("hello", convert.hello_bytes(_HELLO))
        shown = digests.of_bytes(convert.hello_bytes(_HELLO)).digest
        await stub.Sync(exchange.sync_to(SyncRequest(NAME, 1, 0, shown, hello=_HELLO)), timeout=_PATIENCE_S)

    async def _sync(self, stub: GatewayStub) -> None:
        await stub.Sync(exchange.sync_to(SyncRequest(NAME, 1, 0)), timeout=_PATIENCE_S)

    async def _deliver(self, stub: GatewayStub) -> None:
        """Deliver for its own task, by whatever it finds good."""
        for task in self._tasks(lambda task: task.device == NAME):
            vector = model.drawn(NAME, task.id, str(self.commons.fate.chance.random()))
            await self._upload(stub, task, self._file(vector), vector)

    async def _steal(self, stub: GatewayStub) -> None:
        """Deliver for another's."""
        for task in self._tasks(lambda task: task.device != NAME)[:2]:
            vector = model.drawn(NAME, task.id)
            await self._upload(stub, task, self._file(vector), vector)

    async def _repeat(self, stub: GatewayStub) -> None:
        """Deliver once more what was delivered before, perhaps long ago."""
        if self.sent:
            await self._send(stub, *self.commons.fate.chance.choice(self.sent))

    async def _spoil(self, stub: GatewayStub) -> None:
        """Deliver what is no delta: not finite, cut short, or not what was announced."""
        for task in self._tasks(lambda task: task.device == NAME):
            data = self._file((math.nan,) * model.ELEMENTS)
            offer = Offer(NAME, task.id, digests.of_bytes(data), "f32", _METRICS)
            other = digests.of_bytes(b"something else")
            spoiled = self.commons.fate.chance.choice(
                (
                    (offer, data),
                    (offer, data[:-5] + b"xxxxx"),
                    (replace(offer, delta=Blob(other.digest, len(data))), data),
                    (replace(offer, metrics=replace(_METRICS, examples=0)), data),
                    (replace(offer, metrics=replace(_METRICS, examples=-5)), data),
                    (replace(offer, codec="zip"), data),
                )
            )
            await self._send(stub, *spoiled)

    async def _lie(self, stub: GatewayStub) -> None:
        """Report on all tasks there are."""
        chance = self.commons.fate.chance
        outcome = chance.choice((Failed("no"), Evaluated(_METRICS)))
        reports = tuple(TaskReport(task.id, outcome) for task in self._tasks(lambda task: True))
        await stub.Sync(exchange.sync_to(SyncRequest(NAME, 1 << 40, 1 << 40, "x", (), reports)), timeout=_PATIENCE_S)

    async def _shout(self, stub: GatewayStub) -> None:
        """Say nonsense on its own topics."""
        chance = self.commons.fate.chance
        kind = chance.choice(topics.UP)
        nonsense = fleet.Presence(online=True, epoch=1 << 60, seq=1 << 31).SerializeToString()
        await self._publish(kind, chance.choice((nonsense, chance.randbytes(20), b"")))

    def _tasks(self, wanted: Callable[[TaskRecord], bool]) -> list[TaskRecord]:
        tasks = self.store.tables.tasks.values()
        return [task for task in tasks if task.state is TaskState.OPEN and wanted(task)]

    async def _upload(self, stub: GatewayStub, task: TaskRecord, data: bytes, vector: model.Vector) -> None:
        blob = digests.of_bytes(data)
        self.commons.records.deltas[blob.digest] = vector, NAME, None
        offer = Offer(NAME, task.id, blob, "f32", _METRICS)
        self.sent.append((offer, data))
        await self._send(stub, offer, data)

    async def _send(self, stub: GatewayStub, offer: Offer, data: bytes) -> None:
        call = stub.UploadDelta()
        try:
            await call.write(pb.UploadPart(offer=convert.offer_to(offer)))
            reply = await call.read()
            if reply.WhichOneof("reply") == "resume_at":
                await call.write(pb.UploadPart(chunk=data[reply.resume_at :] or b"?"))
                await call.read()
        finally:
            call.cancel()

    async def _publish(self, kind: str, payload: bytes) -> None:
        async with Client(self.commons.broker, NAME, self.process) as client:
            await client.publish(topics.up(NAME, kind), payload, qos=1)

    def _file(self, vector: model.Vector) -> bytes:
        place = self.commons.disks.root / "mallory.delta"
        codecs.write_delta(place, np.array(vector, np.float32))
        return place.read_bytes()
