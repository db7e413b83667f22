"""The gateway of the control plane over gRPC: Sync, Fetch, UploadDelta, on one channel, while there is use for it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import grpc.aio
from google.protobuf.message import DecodeError
from headwater_wire import convert, exchange
from headwater_wire.admission import RETRY_DELAY
from headwater_wire.chunks import CHUNK_BYTES
from headwater_wire.crashpoint import crashpoint
from headwater_wire.errors import WireError
from headwater_wire.ids import DeviceId, Digest
from headwater_wire.messages import Offer, Receipt, SyncAnswer, SyncRequest
from headwater_wire.signing import Forged
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1.gateway_pb2_grpc import GatewayStub

from headwater_agent.config import Address
from headwater_agent.core.backoff import SYNC_APART_S
from headwater_agent.edges.trust import Trust
from headwater_agent.ports import Gone, Unavailable, freely

_log = logging.getLogger(__name__)
_OPTIONS = (
    # A half-open link is noticed while a call waits on it; an idle channel sends nothing at all.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # The default waits up to two minutes: the pause between attempts is ours to draw (core/backoff.py).
    ("grpc.initial_reconnect_backoff_ms", 200),
    # gRPC also takes this for how long a connection may take to come about: less, and a box behind a satellite, or one
    # of a fleet that comes back at once, would end every handshake before it is done.
    ("grpc.min_reconnect_backoff_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Else a slow server's stream buffers 5 to 17 MB.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1_048_576),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 8 * 1_048_576),
    ("grpc.enable_http_proxy", 0),
)
_FAREWELL_S = 60.0
# A channel has six threads, which wake ten times a second: two thirds of what an idle agent would cost. One without
# calls is closed; but not between the Syncs of a box that no broker reaches, as a TLS handshake costs some kilobytes.
QUIET_S = 1.6 * SYNC_APART_S
_EOF = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the stubs

_T = TypeVar("_T")


class GrpcUplink:
    """The `Uplink` port. `patience_s` is how long an answer, or the next chunk, may take.

    `connect` makes a channel: another one, with the new certificate, after each renewal.
    """

    def __init__(
        self,
        connect: Callable[[], grpc.aio.Channel],
        device: DeviceId,
        trust: Trust,
        *,
        patience_s: float = 30.0,
        forged: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._device = device
        self._trust = trust
        self._patience_s = patience_s
        self._forged = forged  # hears of an answer signed with a key that we don't know
        self._channel: grpc.aio.Channel | None = None
        self._calls = 0
        self._hanging_up: asyncio.TimerHandle | None = None
        self._farewell: asyncio.Task[None] | None = None

    async def reconnect(self) -> None:
        """Use a new channel from now on; calls on the old one may end there, for a while."""
        former, self._channel = self._channel, None
        if former is not None:
            await former.close(grace=_FAREWELL_S)

    async def close(self) -> None:
        """Close the channel."""
        self._stay()
        if self._channel is not None:
            self._hang_up()
        if self._farewell is not None:
            await self._farewell

    @contextmanager
    def _line(self) -> Iterator[Any]:
        """Give a stub for a call, on the channel that there is, or a new one."""
        self._stay()
        if self._channel is None:
            self._channel = self._connect()
        self._calls += 1
        try:
            yield GatewayStub(self._channel)  # type: ignore[no-untyped-call]
        finally:
            self._calls -= 1
            if not self._calls:
                self._hanging_up = asyncio.get_running_loop().call_later(QUIET_S, self._hang_up)

    def _stay(self) -> None:
        if self._hanging_up is not None:
            self._hanging_up.cancel()
            self._hanging_up = None

    def _hang_up(self) -> None:
        former, self._channel = self._channel, None
        if former is not None:
            self._farewell = asyncio.create_task(former.close(None), name="uplink.farewell")

    async def sync(self, request: SyncRequest) -> SyncAnswer:
        """Tell what is held, and get what should be; an answer meant for another device raises."""
        with self._line() as stub:
            response = await self._within(stub.Sync(exchange.sync_to(request), timeout=self._patience_s))
        try:
            if response.HasField("keys"):
                self._trust.learn(response.keys)
            return exchange.answer_from(response, self._trust.read, self._device)
        except Forged as error:
            self._forged()
            raise Unavailable(f"the control plane's answer to Sync is not signed as it should be: {error}") from error
        except WireError as error:
            raise Unavailable(f"the control plane's answer to Sync makes no sense: {error}") from error
        except OSError as error:  # a full disk
            raise Unavailable(f"the control plane's new keys could not be kept: {error}") from error

    async def fetch(self, digest: Digest, offset: int) -> AsyncGenerator[bytes, None]:
        """Give a blob's bytes from `offset` on; raise `Gone` if the control plane has no such blob."""
        with self._line() as stub:
            call = stub.Fetch(pb.FetchRequest(device=self._device, digest=digest, offset=offset))
            try:
                while (chunk := await self._within(call.read())) is not _EOF:
                    yield chunk.data
            finally:
                call.cancel()

    async def upload(
        self, offer: Offer, path: Path, sent: Callable[[int], None], wanted: Callable[[], Awaitable[None]] = freely
    ) -> Receipt:
        """Offer a delta and send what of it is missing; `sent` hears how far it is, in bytes.

        `wanted` is awaited once the control plane wants bytes, before the first goes; what it raises ends the upload.
        """
        with self._line() as stub:
            return await self._uploaded(stub.UploadDelta(), offer, path, sent, wanted)

    async def _uploaded(
        self, call: Any, offer: Offer, path: Path, sent: Callable[[int], None], wanted: Callable[[], Awaitable[None]]
    ) -> Receipt:
        try:
            await self._within(call.write(pb.UploadPart(offer=convert.offer_to(offer))))
            reply = await self._reply(call)
            if reply.WhichOneof("reply") == "resume_at":
                if reply.resume_at:
                    _log.info("task %s: resuming the upload at %d bytes", offer.task, reply.resume_at)
                await wanted()
                await self._send(call, offer, path, reply.resume_at, sent)
                reply = await self._reply(call)
            if reply.WhichOneof("reply") != "receipt":
                raise Unavailable("the control plane ended an upload without a receipt")
            return convert.receipt_from(reply.receipt)
        except WireError as error:
            raise Unavailable(f"the control plane's answer to an upload makes no sense: {error}") from error
        finally:
            call.cancel()

    async def _send(self, call: Any, offer: Offer, path: Path, offset: int, sent: Callable[[int], None]) -> None:
        size = offer.delta.size
        if offset > size:
            raise Unavailable(f"the control plane wants to resume at {offset} of {size} bytes")
        with await asyncio.to_thread(path.open, "rb") as file:
            await asyncio.to_thread(file.seek, offset)
            while chunk := await asyncio.to_thread(_read, file):
                # A receipt, or a refusal, may come before the last chunk: write then says that the call is over.
                await self._within(call.write(pb.UploadPart(chunk=chunk)))
                offset += len(chunk)
                sent(offset)
                if offset >= size // 2:
                    crashpoint("agent.upload.half")
        await self._within(call.done_writing())

    async def _reply(self, call: Any) -> pb.UploadReply:
        reply = await self._within(call.read())
        if reply is _EOF:
            raise Unavailable("the control plane ended an upload without a receipt")
        assert isinstance(reply, pb.UploadReply)
        return reply

    async def _within(self, waiting: Awaitable[_T]) -> _T:
        """Wait, but not for ever; say what became of it in our own words."""
        try:
            async with asyncio.timeout(self._patience_s):
                return await waiting
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if asker is None or asker.cancelling():
                raise
            raise Unavailable("its channel was closed: there is one with a newer certificate") from None
        except grpc.aio.AioRpcError as error:
            raise _told(error) from error
        except TimeoutError as error:
            raise Unavailable(f"no answer within {self._patience_s:g} s") from error
        except (DecodeError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            raise Unavailable(f"the call ended early: {error}") from error


@asynccontextmanager
async def open_uplink(
    address: Address,
    device: DeviceId,
    trust: Trust,
    credentials: Callable[[], grpc.ChannelCredentials | None] = lambda: None,
    *,
    patience_s: float = 30.0,
    forged: Callable[[], None] = lambda: None,
) -> AsyncIterator[GrpcUplink]:
    """Make an uplink, which connects when it is first used; without credentials it has no TLS, for loopback."""
    place = f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"

    def connect() -> grpc.aio.Channel:
        proof = credentials()
        if proof is None:
            return grpc.aio.insecure_channel(place, options=_OPTIONS)
        return grpc.aio.secure_channel(place, proof, options=_OPTIONS)

    uplink = GrpcUplink(connect, device, trust, patience_s=patience_s, forged=forged)
    try:
        yield uplink
    finally:
        await uplink.close()


def _read(file: IO[bytes]) -> bytes:
    return file.read(CHUNK_BYTES)


def _told(error: grpc.aio.AioRpcError) -> Exception:
    why = f"{error.code().name}: {(error.details() or 'no details')[:300]}"
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return Gone(why)
    return Unavailable(why, _retry_after_s(error))


def _retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    for key, value in cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()):
        if key == RETRY_DELAY:
            try:
                return min(max(float(value) / 1000, 0.0), 300.0)
            except ValueError:
                return None
    return None
