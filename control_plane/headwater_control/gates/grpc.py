"""The gRPC way in: Sync, Fetch and UploadDelta for devices, each wait with a deadline."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from headwater_wire.convert import offer_from, receipt_to
from headwater_wire.errors import Malformed
from headwater_wire.exchange import answer_to, sync_from
from headwater_wire.ids import DeviceId, check_digest
from headwater_wire.messages import Offer, Receipt, SyncAnswer, SyncRequest
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1 import gateway_pb2_grpc as stubs

from headwater_control.gates.gathering import Gathering
from headwater_control.gates.halves import Watch
from headwater_control.gates.lifetime import Lifetime
from headwater_control.gates.pacing import Pace
from headwater_control.gates.peers import Peers
from headwater_control.gates.status import Code, Full, Refused, answered
from headwater_control.service import deltas
from headwater_control.service.sync import syncs
from headwater_control.service.world import World

log = logging.getLogger(__name__)

TAKEN_BYTES = 1024 * 1024  # of a message: chunks are 512 KiB; a Sync of a thousand tasks is 400 KB
GIVEN_BYTES = 4 * 1024 * 1024
OPTIONS = (
    ("grpc.so_reuseport", 0),  # else a second server would quietly take half of the calls
    ("grpc.max_receive_message_length", TAKEN_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: what comes is as large as it says (halves.py)
    ("grpc.server_handshake_timeout_ms", 10_000),  # two minutes by default, TLS and the HTTP/2 preface together
    ("grpc.max_send_message_length", GIVEN_BYTES),
    ("grpc.http2.bdp_probe", 0),  # with the next line: about 1 MB buffered a stream instead of 5 to 17
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_concurrent_streams", 16),  # as many calls as a device may have (peers.py): more wait in the box
)
# What takes longer than the grace goes on where it was, over a new connection; between Syncs that come every few
# minutes (without a broker) none is made.
LIFETIME = Lifetime(age_s=1800.0, grace_s=1800.0, idle_s=900.0)

_OF_ONE = 4  # uploads, or fetches, of one device: a box of ours has two, and two more for a moment if its link was cut

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may keep us."""

    sync_s: float = 30.0
    part_s: float = 60.0  # an upload that sends nothing for so long is ended; what has come stays for the next try
    least_bytes_per_s: float = 1024.0  # a slower upload is ended too, lest a few take all the places
    read_s: float = 60.0  # a fetch whose client takes nothing for so long is ended
    commit_s: float = 300.0


@dataclass
class GrpcGate(stubs.GatewayServicer):
    """Serves devices: so many uploads and fetches at the same time; more are told when to come back."""

    world: World
    peers: Peers
    uploads: int = 16
    fetches: int = 64
    patience: Patience = field(default_factory=Patience)
    syncs: int = 1000  # that may wait for their transaction
    _busy: dict[str, list[DeviceId]] = field(default_factory=lambda: {"uploads": [], "fetches": []})
    _paces: dict[str, Pace] = field(init=False)
    _syncs: Gathering[SyncRequest, SyncAnswer] = field(init=False)

    def __post_init__(self) -> None:
        def now() -> float:
            return asyncio.get_running_loop().time()

        self._syncs = Gathering(lambda requests: syncs(self.world, requests))
        self._paces = {what: Pace(now) for what in ("uploads", "fetches", "syncs")}

    async def Sync(self, request: pb.SyncRequest, context: Context) -> pb.SyncResponse:  # noqa: N802 (the contract's name)
        """Take reports, tell what the device should hold."""
        async with answered(context, "Sync"), asyncio.timeout(self.patience.sync_s):
            with self.peers.call(context, request.device) as device:
                self.peers.connections.took(context.peer(), request.ByteSize())
                if self._syncs.waiting >= self.syncs:
                    raise Full("Syncs", self._paces["syncs"].pause_s(device))
                answer = await self._syncs.ask(sync_from(request))
            signer = self.world.keyring.signer(self.world.clock.now())
            response = answer_to(answer, signer.order)
            response.keys.CopyFrom(signer.keys())
            return response
        raise AssertionError("answered() has aborted the call")

    async def Fetch(self, request: pb.FetchRequest, context: Context) -> None:  # noqa: N802
        """Stream a blob that the device needs, from an offset to its end."""
        async with answered(context, "Fetch"):
            digest = check_digest(request.digest)
            with self.peers.call(context, request.device) as device, self._admitted("fetches", self.fetches, device):
                async with asyncio.timeout(self.patience.read_s) as deadline:
                    task = await deltas.may_fetch(self.world, device, digest)
                    size = await self.world.blobs.size(digest)
                    if size is None:
                        raise Refused(Code.NOT_FOUND, f"there is no blob {digest}: sync, and see what is wanted now")
                    if request.offset > size:
                        raise Refused(Code.OUT_OF_RANGE, f"blob {digest} has {size} bytes: fetch it again from 0")
                    sent = 0
                    try:
                        async for chunk in self.world.blobs.read(digest, request.offset):
                            await context.write(pb.Chunk(data=chunk))
                            sent += len(chunk)
                            deadline.reschedule(asyncio.get_running_loop().time() + self.patience.read_s)
                    finally:
                        if sent and task is not None:
                            await deltas.fetched(self.world, task, sent)

    async def UploadDelta(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        """Take a delta: an offer, then chunks from the offset that we answer, then a receipt from us."""
        async with answered(context, "UploadDelta"):
            async with asyncio.timeout(self.patience.part_s) as deadline:
                # In this order: who is shut out ends whether or not it has said anything, and takes no place before.
                with self.peers.opened(context) as opened:
                    offer = _offer(await context.read())
                    device = opened.says(offer.device)
                    with self._admitted("uploads", self.uploads, device):
                        answer = await deltas.offer(self.world, offer)
                        if isinstance(answer, deltas.Expected):
                            answer = await self._take(offer, answer, deadline, context)
                        await context.write(pb.UploadReply(receipt=receipt_to(answer)))

    async def _take(
        self, offer: Offer, expected: deltas.Expected, deadline: asyncio.Timeout, context: Context
    ) -> Receipt:
        """Receive and commit. A second upload of the task takes the staging over, and this one ends."""
        now = asyncio.get_running_loop().time
        async with self.world.blobs.stage(offer.task, offer.delta) as staging:
            await context.write(pb.UploadReply(resume_at=staging.offset))
            ends = now() + self.patience.part_s + (offer.delta.size - staging.offset) / self.patience.least_bytes_per_s
            while staging.offset < offer.delta.size:
                chunk = _chunk(await context.read(), staging.offset, offer.delta.size)
                self.peers.connections.took(context.peer(), len(chunk))
                await staging.write(chunk)
                deadline.reschedule(min(now() + self.patience.part_s, ends))
            deadline.reschedule(now() + self.patience.commit_s)
            return await deltas.commit(self.world, offer, expected, staging)

    @contextmanager
    def _admitted(self, what: str, most: int, device: DeviceId) -> Iterator[None]:
        busy = self._busy[what]
        if len(busy) >= most or busy.count(device) >= _OF_ONE:
            raise Full(what, self._paces[what].pause_s(device))
        busy.append(device)
        try:
            yield
        finally:
            busy.remove(device)


def _offer(part: object) -> Offer:
    if not isinstance(part, pb.UploadPart) or part.WhichOneof("part") != "offer":
        raise Malformed("an upload begins with an offer")
    return offer_from(part.offer)


def _chunk(part: object, offset: int, size: int) -> bytes:
    if part is grpc.aio.EOF:  # type: ignore[attr-defined]  # missing in the stubs
        raise Refused(Code.CANCELLED, f"the upload ended after {offset} of {size} bytes: call again to resume it")
    if not isinstance(part, pb.UploadPart) or not part.chunk:
        raise Malformed("after its offer an upload is made of chunks with bytes in them")
    return part.chunk


@asynccontextmanager
async def serve(
    gate: GrpcGate,
    host: str,
    port: int,
    credentials: grpc.ServerCredentials | None = None,
    *,
    grace_s: float = 1.5,
    lifetime: Lifetime = LIFETIME,
) -> AsyncIterator[int]:
    """Serve while the context lasts; give the port. Raises `OSError` if the address can't be had.

    Without `credentials` there is no TLS: for loopback.
    """
    server = grpc.aio.server(options=(*OPTIONS, *lifetime.options))
    stubs.add_GatewayServicer_to_server(gate, server)  # type: ignore[no-untyped-call]  # generated
    try:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        bound = server.add_secure_port(place, credentials) if credentials else server.add_insecure_port(place)
    except RuntimeError as error:
        raise OSError("it is in use, or no address of this machine") from error
    gate.peers.connections.come_to(bound, lifetime.longest_s)
    await server.start()
    # Without TLS nobody knows whose a connection is, and all are this machine's own.
    watching = asyncio.create_task(Watch(gate.peers.connections).run(), name="halves") if credentials else None
    try:
        yield bound
    finally:
        if watching:
            watching.cancel()
        await server.stop(grace_s)
