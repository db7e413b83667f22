"""A device without an agent: it registers, takes a task and uploads a ready delta, over real MQTT and gRPC."""

import asyncio
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import grpc.aio
from headwater.demo.processes import Endpoints
from headwater_agent.edges.uplink import GrpcUplink
from headwater_wire import convert, topics
from headwater_wire.ids import DeviceId, TaskId
from headwater_wire.messages import (
    Blob,
    DatasetCard,
    Evaluated,
    Hello,
    Inventory,
    Metrics,
    Offer,
    Receipt,
    SyncAnswer,
    SyncRequest,
    TaskReport,
)
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1.gateway_pb2_grpc import GatewayStub

EXAMPLES = 10
PATIENCE_S = 10.0


class Ended(Exception):
    """A call ended with a status instead of a receipt."""


class Standin:
    """One device. `epoch` is raised with each registration, as an agent's is with each connection."""

    def __init__(self, device: str, dataset: DatasetCard, endpoints: Endpoints) -> None:
        self.device = DeviceId(device)
        self._dataset = dataset
        self._endpoints = endpoints
        self._epoch = 0

    async def register(self) -> None:
        """Say hello, and that it is online."""
        self._epoch += 1
        hello = Hello(self._epoch, Inventory(cpus=1), datasets=(self._dataset,), engines=("native",))
        address = urlsplit(self._endpoints.mqtt)
        assert address.hostname
        assert address.port
        client = aiomqtt.Client(
            address.hostname, address.port, identifier=self.device, protocol=aiomqtt.ProtocolVersion.V5
        )
        async with client:
            presence = fleet.Presence(online=True, epoch=self._epoch, seq=1)
            await client.publish(topics.up(self.device, "presence"), presence.SerializeToString(), qos=1)
            message = convert.hello_to(hello).SerializeToString()
            await client.publish(topics.up(self.device, "hello"), message, qos=1)

    async def sync(self) -> SyncAnswer:
        """Ask what it should hold."""
        async with self._channel() as channel:
            return await GrpcUplink(channel, self.device).sync(SyncRequest(self.device, self._epoch, 0))

    async def upload(self, task: str, delta: Path, blob: Blob) -> Receipt:
        """Offer a delta for a task, and send it."""
        offer = Offer(self.device, TaskId(task), blob, "f32", Metrics(examples=EXAMPLES, train_loss=1.0))
        async with self._channel() as channel:
            return await GrpcUplink(channel, self.device).upload(offer, delta, lambda _: None)

    async def send(self, *parts: pb.UploadPart) -> Receipt:
        """Send just these parts of an upload, whatever the answers; raise `Ended` if it gets no receipt."""
        async with self._channel() as channel:
            call = GatewayStub(channel).UploadDelta(timeout=PATIENCE_S)  # type: ignore[no-untyped-call]
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # over already: the answer says why
                for part in parts:
                    await call.write(part)
                await call.done_writing()
            try:
                while (reply := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                    if reply.WhichOneof("reply") == "receipt":
                        return convert.receipt_from(reply.receipt)
            except grpc.aio.AioRpcError as error:
                raise Ended(f"{error.code().name}: {error.details()}") from error
        raise Ended("no receipt, and no reason")

    async def score(self, task: str) -> None:
        """Report a score for an evaluate-only task."""
        report = TaskReport(TaskId(task), Evaluated(Metrics(holdout_examples=EXAMPLES)))
        async with self._channel() as channel:
            await GrpcUplink(channel, self.device).sync(SyncRequest(self.device, self._epoch, 0, reports=(report,)))

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self._endpoints.grpc)
