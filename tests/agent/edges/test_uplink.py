"""The gateway as the agent sees it, over real gRPC: what comes back, and what every kind of trouble becomes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from headwater_agent.config import Address
from headwater_agent.edges import uplink as uplink_module
from headwater_agent.edges.cache import FolderCache
from headwater_agent.edges.uplink import GrpcUplink, open_uplink
from headwater_agent.ports import Gone, Unavailable
from headwater_wire.chunks import CHUNK_BYTES
from headwater_wire.ids import DeviceId
from headwater_wire.messages import HeldTask, Metrics, Offer, Phase, Receipt, ReceiptKind, SyncRequest
from headwater_wire.signing import Signer
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1 import gateway_pb2_grpc as stubs

from tests.fakes.agent_bundle import DEVICE, blob, task
from tests.fakes.agent_gateway import ScriptedGateway, refusing, serving
from tests.support.signing import SIGNER, STRANGER, trust
from tests.support.waiting import until

T1 = task("t1")
CHUNKS = 3
BIG = bytes(range(256)) * ((CHUNKS - 1) * CHUNK_BYTES // 256) + b"and a bit"
REQUEST = SyncRequest(DEVICE, 1, 2, "hash", (HeldTask(T1.id, Phase.TRAINING),))


@asynccontextmanager
async def connected(gateway: stubs.GatewayServicer, *, patience_s: float = 5.0) -> AsyncIterator[GrpcUplink]:
    """Serve a gateway and connect to it."""
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(gateway))
        opening = open_uplink(Address("127.0.0.1", port), DEVICE, trust(), patience_s=patience_s)
        yield await stack.enter_async_context(opening)


def offer(data: bytes = BIG) -> Offer:
    """Offer a delta."""
    return Offer(DEVICE, T1.id, blob(data), "f32", Metrics(examples=3))


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """A spooled delta."""
    path = tmp_path / "t1.delta"
    path.write_bytes(BIG)
    return path


def fresh() -> ScriptedGateway:
    """A gateway with one open task."""
    gateway = ScriptedGateway()
    gateway.open(T1)
    return gateway


async def test_sync_tells_and_hears() -> None:
    """Everything that is held goes up, everything that should be held comes down."""
    gateway = fresh()
    async with connected(gateway) as uplink:
        answer = await uplink.sync(REQUEST)
    assert gateway.requests == [REQUEST]
    assert (answer.tasks, answer.revision, answer.heartbeat_s) == ((T1,), 1, 60)


async def test_a_delta_is_streamed_and_receipted(delta: Path) -> None:
    """The whole of it, with its progress."""
    gateway = fresh()
    sent: list[int] = []
    async with connected(gateway) as uplink:
        receipt = await uplink.upload(offer(), delta, sent.append)
        again = await uplink.upload(offer(), delta, sent.append)
    assert receipt == again == Receipt(ReceiptKind.COMMITTED, blob(BIG).digest)
    assert gateway.deltas == {T1.id: BIG}
    assert sent[-1] == len(BIG) and sent == sorted(set(sent)), "the second time no byte was sent"


async def test_a_broken_upload_is_resumed(delta: Path) -> None:
    """What the server has is not sent again; a receipt lost on its way is given again."""
    gateway = fresh()
    sent: list[int] = []
    gateway.faults.extend(
        [
            ("chunk", refusing(grpc.StatusCode.UNAVAILABLE)),
            ("receipt", refusing(grpc.StatusCode.UNAVAILABLE)),
        ]
    )
    async with connected(gateway) as uplink:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await uplink.upload(offer(), delta, lambda count: None)
        assert (await uplink.upload(offer(), delta, sent.append)).kind is ReceiptKind.COMMITTED
    assert gateway.deltas == {T1.id: BIG}
    assert gateway.calls["chunk"] == CHUNKS and sent == []


async def test_a_busy_server_says_when_to_come_back(delta: Path) -> None:
    """Its wish is told in seconds."""
    gateway = fresh()
    gateway.faults.append(("UploadDelta", refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_ms=1500)))
    async with connected(gateway) as uplink:
        with pytest.raises(Unavailable) as caught:
            await uplink.upload(offer(), delta, lambda count: None)
    assert caught.value.retry_after_s == 1.5


async def test_a_server_that_is_not_there_is_unavailable(delta: Path) -> None:
    """At once, not after minutes; and it is found again when it is back."""
    async with serving(fresh()) as port:
        pass
    async with open_uplink(Address("127.0.0.1", port), DEVICE, trust()) as uplink:
        for _ in range(2):
            with pytest.raises(Unavailable, match="UNAVAILABLE"):
                await uplink.sync(REQUEST)
        async with serving(fresh(), port):
            async with asyncio.timeout(10):
                while True:
                    try:
                        answer = await uplink.sync(REQUEST)
                        break
                    except Unavailable:
                        await asyncio.sleep(0.05)
        assert answer.tasks == (T1,)


@dataclass
class Line:
    """An uplink whose channels are counted."""

    uplink: GrpcUplink
    made: list[grpc.aio.Channel]

    async def hung_up(self) -> None:
        """Wait until the newest channel is closed."""
        newest = self.made[-1]
        await until(lambda: newest.get_state() is grpc.ChannelConnectivity.SHUTDOWN, "it hangs up")


@asynccontextmanager
async def counted(gateway: stubs.GatewayServicer) -> AsyncIterator[Line]:
    """Serve a gateway; connect to it when asked to."""
    async with serving(gateway) as port:
        made: list[grpc.aio.Channel] = []

        def connect() -> grpc.aio.Channel:
            made.append(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            return made[-1]

        uplink = GrpcUplink(connect, DEVICE, trust())
        try:
            yield Line(uplink, made)
        finally:
            await uplink.close()


async def test_there_is_a_channel_from_the_first_call_until_some_time_after_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next call makes another one: what a channel costs is nothing to an agent that has nothing to say."""
    async with counted(fresh()) as line:
        assert not line.made
        for _ in range(3):
            await line.uplink.sync(REQUEST)
        assert len(line.made) == 1
        monkeypatch.setattr(uplink_module, "QUIET_S", 0.0)
        await line.uplink.sync(REQUEST)
        await line.hung_up()
        assert (await line.uplink.sync(REQUEST)).tasks == (T1,)
        assert len(line.made) == 2
        await line.hung_up()


async def test_a_call_under_way_keeps_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever begins and ends beside it."""
    monkeypatch.setattr(uplink_module, "QUIET_S", 0.0)
    gateway = fresh()
    gateway.blobs[blob(BIG).digest] = BIG
    async with counted(gateway) as line:
        fetching = line.uplink.fetch(blob(BIG).digest, 0)
        got = [await anext(fetching)]
        await line.uplink.sync(REQUEST)
        await asyncio.sleep(0)
        got += [chunk async for chunk in fetching]
        assert b"".join(got) == BIG
        assert len(line.made) == 1
        await line.hung_up()


async def test_after_a_renewal_the_next_call_shows_the_new_certificate() -> None:
    """On a channel of its own, while the old one's calls may end."""
    async with counted(fresh()) as line:
        await line.uplink.reconnect()  # before any call there is nothing to part with
        await line.uplink.sync(REQUEST)
        await line.uplink.reconnect()
        await line.uplink.sync(REQUEST)
        assert len(line.made) == 2


class Mute(stubs.GatewayServicer):
    """A server that accepts every call and never answers: a half-open link."""

    async def Sync(self, request: object, context: object) -> pb.SyncResponse:  # noqa: N802
        """Wait."""
        await asyncio.sleep(3600)
        raise AssertionError

    async def Fetch(self, request: object, context: object) -> None:  # noqa: N802
        """Wait."""
        await asyncio.sleep(3600)

    async def UploadDelta(self, request_iterator: object, context: object) -> None:  # noqa: N802
        """Wait."""
        await asyncio.sleep(3600)


async def test_nobody_waits_for_ever(delta: Path) -> None:
    """Each call has a deadline, each chunk one of its own."""
    async with connected(Mute(), patience_s=0.2) as uplink:
        with pytest.raises(Unavailable):
            await uplink.sync(REQUEST)
        with pytest.raises(Unavailable):
            await uplink.upload(offer(), delta, lambda count: None)
        with pytest.raises(Unavailable):
            await anext(uplink.fetch(blob(BIG).digest, 0))


async def test_what_a_renewal_cuts_short_is_tried_again(delta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old channel ends what still runs on it as if its asker had cancelled it, who has not and must know."""
    monkeypatch.setattr(uplink_module, "_FAREWELL_S", 0.01)
    async with counted(Mute()) as line:
        for begin in (
            lambda: line.uplink.sync(REQUEST),
            lambda: line.uplink.upload(offer(), delta, lambda count: None),
            lambda: anext(line.uplink.fetch(blob(BIG).digest, 0)),
        ):
            call: asyncio.Future[object] = asyncio.ensure_future(begin())
            await until(lambda: bool(line.made) and _ready(line.made[-1]), "it is connected")
            await line.uplink.reconnect()
            with pytest.raises(Unavailable, match="newer certificate"):
                await call


async def test_who_is_cancelled_stays_so(delta: Path) -> None:
    """An agent that stops waits for no call."""
    async with counted(Mute()) as line:
        call = asyncio.create_task(line.uplink.upload(offer(), delta, lambda count: None))
        await until(lambda: bool(line.made) and _ready(line.made[-1]), "it is connected")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


def _ready(channel: grpc.aio.Channel) -> bool:
    return channel.get_state() is grpc.ChannelConnectivity.READY


def replying(*replies: pb.UploadReply) -> stubs.GatewayServicer:
    """Make a server that answers an offer so."""

    class Scripted(stubs.GatewayServicer):
        async def UploadDelta(self, request_iterator: object, context: Any) -> None:  # noqa: N802
            await context.read()
            for reply in replies:
                await context.write(reply)

    return Scripted()


@pytest.mark.parametrize(
    "replies",
    [
        (),
        (pb.UploadReply(),),
        (pb.UploadReply(resume_at=10**12),),
        (pb.UploadReply(resume_at=0), pb.UploadReply(resume_at=5)),
        (pb.UploadReply(resume_at=0),),
        (pb.UploadReply(receipt=pb.Receipt()),),
        (pb.UploadReply.FromString(b"\x12\x02\x08\x4d"),),  # a receipt of kind 77
    ],
)
async def test_nonsense_for_an_upload_is_no_receipt(delta: Path, replies: tuple[pb.UploadReply, ...]) -> None:
    """A guess could delete a delta."""
    async with connected(replying(*replies)) as uplink:
        with pytest.raises(Unavailable):
            await uplink.upload(offer(), delta, lambda count: None)


def answering(change: Callable[[pb.SyncResponse], None]) -> stubs.GatewayServicer:
    """Make a server whose Sync answer is bent."""

    class Scripted(ScriptedGateway):
        async def Sync(self, request: pb.SyncRequest, context: Any) -> pb.SyncResponse:  # noqa: N802
            response = await super().Sync(request, context)
            change(response)
            return response

    gateway = Scripted()
    gateway.open(T1)
    return gateway


def _other_device(order: fleet.Order) -> None:
    order.device = order.assign.device = "box-2"


def _two_devices(order: fleet.Order) -> None:
    order.assign.device = "box-2"


def _bad_digest(order: fleet.Order) -> None:
    order.assign.bundle.digest = "../../etc/passwd"


def _bad_name(order: fleet.Order) -> None:
    order.assign.id = "../x"


def _nothing(order: fleet.Order) -> None:
    order.ClearField("assign")


def signed(change: Callable[[fleet.Order], None], by: Signer) -> Callable[[pb.SyncResponse], None]:
    """Change the first order of an answer, and sign it again."""

    def resign(response: pb.SyncResponse) -> None:
        order = fleet.Order.FromString(response.orders[0].order)
        change(order)
        response.orders[0].CopyFrom(by.order(order))

    return resign


def _tampered(response: pb.SyncResponse) -> None:
    order = fleet.Order.FromString(response.orders[0].order)
    order.assign.plan.epochs += 1
    response.orders[0].order = order.SerializeToString()


def _unsigned(response: pb.SyncResponse) -> None:
    response.orders[0].signature = b""


CHANGES = [signed(change, SIGNER) for change in (_other_device, _two_devices, _bad_digest, _bad_name, _nothing)]


@pytest.mark.parametrize("change", [*CHANGES, signed(lambda _: None, STRANGER), _tampered, _unsigned])
async def test_nonsense_for_an_answer_is_no_answer(change: Callable[[pb.SyncResponse], None]) -> None:
    """Nothing of it is believed."""
    async with connected(answering(change)) as uplink:
        with pytest.raises(Unavailable):
            await uplink.sync(REQUEST)


async def test_a_broken_fetch_goes_on_where_it_broke(tmp_path: Path) -> None:
    """Through the cache, over real gRPC."""
    gateway = ScriptedGateway()
    wanted = gateway.put(BIG)
    gateway.faults.extend([("Fetch", refusing(grpc.StatusCode.UNAVAILABLE))])
    async with connected(gateway) as uplink:
        cache = FolderCache(tmp_path, uplink)
        with pytest.raises(Unavailable):
            await cache.get(wanted, durably=True)
        assert (await cache.get(wanted, durably=True)).read_bytes() == BIG
        with pytest.raises(Gone):
            await cache.get(replace(blob(b"?"), size=9), durably=True)
    assert gateway.offsets[0] == 0 and gateway.offsets[1] > 0


async def test_the_agent_names_itself_in_a_fetch(tmp_path: Path) -> None:
    """The control plane gives a device only what it needs."""
    names = []

    class Curious(ScriptedGateway):
        async def Fetch(self, request: pb.FetchRequest, context: Any) -> None:  # noqa: N802
            names.append(DeviceId(request.device))
            await super().Fetch(request, context)

    gateway = Curious()
    wanted = gateway.put(b"small")
    async with connected(gateway) as uplink:
        await FolderCache(tmp_path, uplink).get(wanted, durably=False)
    assert names == [DEVICE]
