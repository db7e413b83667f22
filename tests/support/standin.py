"""A device without an agent: it registers, takes a task and uploads a ready delta, over real MQTT and gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import grpc.aio
from headwater.demo.processes import Endpoints
from headwater_agent.edges.trust import Gullible
from headwater_agent.edges.uplink import GrpcUplink
from headwater_wire import convert, digests, topics
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

from tests.support.papers import Papers, papers

EXAMPLES = 10
PATIENCE_S = 10.0
_UNTOLD = "Internal error from Core"  # of grpc.aio, for whoever writes to a call whose end has not quite arrived
_EOF = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the stubs


class Ended(Exception):
    """A call ended with a status instead of a receipt."""


class Standin:
    """One device. `epoch` is raised with each registration, as an agent's is with each connection."""

    def __init__(self, device: str, dataset: DatasetCard, endpoints: Endpoints, *, certified_as: str = "") -> None:
        """Be `device`, with a certificate of that name, or of another one: as an attacker would come."""
        self.device = DeviceId(device)
        self._certified_as = certified_as or device
        self._dataset = dataset
        self._endpoints = endpoints
        self._epoch = 0
        self._hello: Hello | None = None
        self._papers: Papers | None = None

    async def register(self) -> None:
        """Say hello, and that it is online."""
        await self.enrol()
        self._epoch += 1
        self._hello = Hello(self._epoch, Inventory(cpus=1), datasets=(self._dataset,), engines=("native",))
        address = urlsplit(self._endpoints.mqtt)
        assert address.hostname
        assert address.port
        client = aiomqtt.Client(
            address.hostname,
            address.port,
            identifier=self.device,
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=self._papers.tls if self._papers else None,
        )
        async with client:
            presence = fleet.Presence(online=True, epoch=self._epoch, seq=1)
            await client.publish(topics.up(self.device, "presence"), presence.SerializeToString(), qos=1)
            await client.publish(topics.up(self.device, "hello"), convert.hello_bytes(self._hello), qos=1)
        await self.sync()  # where the broker is another's, it is believed only here

    async def sync(self) -> SyncAnswer:
        """Ask what it should hold."""
        shown = digests.of_bytes(convert.hello_bytes(self._hello)).digest if self._hello else ""
        async with self._uplink() as uplink:
            return await uplink.sync(SyncRequest(self.device, self._epoch, 0, shown, hello=self._hello))

    async def upload(self, task: str, delta: Path, blob: Blob) -> Receipt:
        """Offer a delta for a task, and send it."""
        offer = Offer(self.device, TaskId(task), blob, "f32", Metrics(examples=EXAMPLES, train_loss=1.0))
        async with self._uplink() as uplink:
            return await uplink.upload(offer, delta, lambda _: None)

    async def send(self, first: pb.UploadPart, *chunks: bytes, torn: bool = False) -> Receipt:
        """Send one part, and these chunks if they are asked for; raise `Ended` if that earns no receipt.

        `torn` ends the call behind them. Nothing is written once all is said: gRPC would tell of that, not of the end.
        A call that ends while its first part is on the way may do so too: then it is made again, to hear the reason.
        """
        while True:
            try:
                return await self._sent(first, *chunks, torn=torn)
            except Ended as ended:
                if _UNTOLD not in str(ended):
                    raise

    async def _sent(self, first: pb.UploadPart, *chunks: bytes, torn: bool) -> Receipt:
        async with self.channel() as channel:
            call = GatewayStub(channel).UploadDelta(timeout=PATIENCE_S)  # type: ignore[no-untyped-call]
            try:
                await call.write(first)
                reply = await call.read()
                if reply is not _EOF and reply.WhichOneof("reply") == "resume_at":
                    for chunk in chunks:
                        await call.write(pb.UploadPart(chunk=chunk))
                    if torn:
                        await call.done_writing()
                    reply = await call.read()
                if reply is _EOF:
                    raise Ended("no receipt")
                return convert.receipt_from(reply.receipt)
            except grpc.aio.AioRpcError as error:
                raise Ended(f"{error.code().name}: {error.details()}") from error

    async def score(self, task: str) -> None:
        """Report a score for an evaluate-only task."""
        report = TaskReport(TaskId(task), Evaluated(Metrics(holdout_examples=EXAMPLES)))
        async with self._uplink() as uplink:
            await uplink.sync(SyncRequest(self.device, self._epoch, 0, reports=(report,)))

    async def enrol(self) -> None:
        """Get a certificate, unless it has one or needs none."""
        if self._papers is None and self._endpoints.secure:
            self._papers = await papers(self._endpoints, self._certified_as)

    @property
    def papers(self) -> Papers:
        """Give its certificate."""
        assert self._papers is not None, "it has not enrolled"
        return self._papers

    @asynccontextmanager
    async def _uplink(self) -> AsyncIterator[GrpcUplink]:
        made = GrpcUplink(self.channel, self.device, self._papers.trust if self._papers else Gullible())
        try:
            yield made
        finally:
            await made.close()

    def channel(self) -> grpc.aio.Channel:
        """Connect to the gateway."""
        if self._papers is None:
            return grpc.aio.insecure_channel(self._endpoints.grpc)
        return grpc.aio.secure_channel(self._endpoints.grpc, self._papers.credentials)
