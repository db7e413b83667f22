"""A gateway that a test scripts: it keeps one device's tasks, deployments, blobs and deltas in memory."""

import hashlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from headwater_wire import convert, exchange
from headwater_wire.admission import RETRY_DELAY
from headwater_wire.chunks import CHUNK_BYTES
from headwater_wire.ids import Digest, TaskId
from headwater_wire.messages import (
    Blob,
    Deployment,
    DeploymentReport,
    Metrics,
    Receipt,
    ReceiptKind,
    SyncAnswer,
    SyncRequest,
    Task,
    TaskReport,
)
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1 import gateway_pb2_grpc as stubs

from tests.support.cutting import cut
from tests.support.signing import SIGNER

Context = Any


@dataclass
class ScriptedGateway(stubs.GatewayServicer):
    """Answers as the control plane does. `faults` are (call, what) that befall the next calls of that name."""

    server_time_ms: int = 1_000_000
    heartbeat_s: int = 60
    epoch: int = 0
    revision: int = 0
    hello_wanted: bool = False
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    closed: set[TaskId] = field(default_factory=set)
    staged: dict[tuple[TaskId, Digest], bytearray] = field(default_factory=dict)  # each announced delta begins afresh
    deltas: dict[TaskId, bytes] = field(default_factory=dict)
    metrics: dict[TaskId, Metrics] = field(default_factory=dict)
    reports: list[TaskReport] = field(default_factory=list)
    deployment_reports: list[DeploymentReport] = field(default_factory=list)
    requests: list[SyncRequest] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)  # that fetches asked for
    faults: deque[tuple[str, Callable[[Context], Any]]] = field(default_factory=deque)
    calls: Counter[str] = field(default_factory=Counter)

    def put(self, data: bytes) -> Blob:
        """Store a blob."""
        blob = Blob(Digest(hashlib.sha256(data).hexdigest()), len(data))
        self.blobs[blob.digest] = data
        return blob

    def open(self, task: Task) -> None:
        """Give the device a task."""
        self.revision += 1
        self.tasks[task.id] = task

    def close(self, task: TaskId) -> None:
        """End one."""
        self.revision += 1
        del self.tasks[task]
        self.closed.add(task)

    def deploy(self, deployment: Deployment) -> None:
        """Want a version installed."""
        self.revision += 1
        self.deployments = [d for d in self.deployments if d.model != deployment.model] + [deployment]

    async def Sync(self, request: pb.SyncRequest, context: Context) -> pb.SyncResponse:  # noqa: N802
        """Take reports, tell what should be held."""
        await self._befall("Sync", context)
        asked = exchange.sync_from(request)
        self.requests.append(asked)
        for report in asked.reports:
            if self.tasks.pop(report.task, None):
                self.reports.append(report)
        self.deployment_reports += asked.deployments
        return exchange.answer_to(
            SyncAnswer(
                self.revision,
                self.server_time_ms,
                self.epoch,
                self.hello_wanted,
                tuple(self.tasks.values()),
                tuple(self.deployments),
                self.heartbeat_s,
            ),
            SIGNER.order,
        )

    async def Fetch(self, request: pb.FetchRequest, context: Context) -> None:  # noqa: N802
        """Stream a blob."""
        self.offsets.append(request.offset)
        data = self.blobs.get(Digest(request.digest))
        if data is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such blob")
            return
        if request.offset > len(data):
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, f"it has {len(data)} bytes")
        for number, chunk in enumerate(cut(data[request.offset :], CHUNK_BYTES)):
            if number:
                await self._befall("Fetch", context)
            await context.write(pb.Chunk(data=chunk))

    async def UploadDelta(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        """Take a delta."""
        await self._befall("UploadDelta", context)
        offer = convert.offer_from((await context.read()).offer)
        if receipt := self._final(offer.task):
            await context.write(pb.UploadReply(receipt=convert.receipt_to(receipt)))
            return
        name = offer.task, offer.delta.digest
        staged = self.staged.setdefault(name, bytearray())
        await context.write(pb.UploadReply(resume_at=len(staged)))
        while len(staged) < offer.delta.size:
            part = await context.read()
            if part is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            assert len(part.chunk) <= CHUNK_BYTES
            staged += part.chunk
            await self._befall("chunk", context)
        if hashlib.sha256(staged).hexdigest() != offer.delta.digest:
            del self.staged[name]
            await context.abort(grpc.StatusCode.ABORTED, "another digest")
        self.deltas[offer.task] = bytes(self.staged.pop(name))
        self.metrics[offer.task] = offer.metrics
        del self.tasks[offer.task]
        receipt = Receipt(ReceiptKind.COMMITTED, offer.delta.digest)
        await self._befall("receipt", context)
        await context.write(pb.UploadReply(receipt=convert.receipt_to(receipt)))

    def _final(self, task: TaskId) -> Receipt | None:
        if task in self.deltas:
            return Receipt(ReceiptKind.COMMITTED, hashlib.sha256(self.deltas[task]).hexdigest())
        if task in self.tasks:
            return None
        if task in self.closed:
            return Receipt(ReceiptKind.CANCELLED, reason="it is over")
        return Receipt(ReceiptKind.REFUSED, reason="there is no such task, or it has failed")

    async def _befall(self, call: str, context: Context) -> None:
        self.calls[call] += 1
        if self.faults and self.faults[0][0] == call:
            await self.faults.popleft()[1](context)


def refusing(code: grpc.StatusCode, *, retry_ms: int | None = None) -> Callable[[Context], Any]:
    """Make a fault that ends a call with a status."""

    async def abort(context: Context) -> None:
        metadata = ((RETRY_DELAY, str(retry_ms)),) if retry_ms is not None else ()
        await context.abort(code, "a test wants it so", metadata)

    return abort


@asynccontextmanager
async def serving(gateway: stubs.GatewayServicer, port: int = 0) -> AsyncIterator[int]:
    """Serve a gateway on loopback; give the port."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    stubs.add_GatewayServicer_to_server(gateway, server)  # type: ignore[no-untyped-call]
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)
