"""Attacks by the slow and by the large: every server goes on serving others, ends the slow, and refuses the large."""

import asyncio
import gzip
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import grpc.aio
import pytest
from headwater_control.core.authority import Role
from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.fields import varint
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.packets import Connect
from headwater_control.edges.broker.reasons import Reason
from headwater_control.gates.http import listen
from headwater_control.gates.http.app import create
from headwater_control.gates.http.auth import Door
from headwater_control.gates.http.guard import JSON_LIMIT_BYTES, Guard
from headwater_control.gates.peers import Peers
from headwater_control.gates.status import Full
from headwater_control.service import tokens
from headwater_control.service.roll import Roll
from headwater_control.tls import ServerTls
from headwater_wire import topics
from headwater_wire.ids import DeviceId
from headwater_wire.v1 import enrolment_pb2 as enrol_pb
from headwater_wire.v1 import enrolment_pb2_grpc as enrol_stubs
from headwater_wire.v1 import gateway_pb2 as pb
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message

from tests.control_plane.broker.raw_client import connected
from tests.support.forging import Shown
from tests.support.stronghold import OK, PATIENCE_S, WELCOME, Stronghold, shown, stronghold

ME = DeviceId("box-1")
ENDS_WITHIN_S = 20.0  # each bound is ten seconds; a machine may be busy
MANY = 200
REFUSED = {"RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "INTERNAL", "UNIMPLEMENTED"}


@dataclass
class Front:
    """All four servers, one device that is in, and an admin's token."""

    held: Stronghold
    https: int
    me: Shown
    token: str

    async def serves_others(self) -> None:
        """See each server do its work for an honest client, soon."""
        async with asyncio.timeout(PATIENCE_S):
            assert await self.held.knocks(self.me, ME) == OK
            assert await self.held.connects(self.me, ME) == WELCOME
            assert (await self.enrol("Anchors", enrol_pb.AnchorsRequest()))[0] == OK
            assert (await self.get("/v1/health/live"))[0] == 204

    async def enrol(self, call: str, message: object, **options: object) -> tuple[str, object]:
        """Call the enrolment service; give the status."""
        async with grpc.aio.secure_channel(self.held.enrol, self.held.nobody.credentials) as channel:
            stub = enrol_stubs.EnrolmentStub(channel)  # type: ignore[no-untyped-call]
            try:
                return OK, await getattr(stub, call)(message, timeout=PATIENCE_S, **options)
            except grpc.aio.AioRpcError as error:
                return error.code().name, error.details()

    async def get(self, path: str) -> tuple[int, bytes]:
        """Read a page over HTTPS."""
        return await self.says(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())

    async def post(self, path: str, body: bytes, *headers: str) -> tuple[int, bytes]:
        """Post a body as an admin."""
        lines = [
            f"POST {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {self.token}",
            "content-type: application/json", f"content-length: {len(body)}", *headers,
        ]  # fmt: skip
        return await self.says("\r\n".join([*lines, "", ""]).encode() + body)

    async def says(self, request: bytes) -> tuple[int, bytes]:
        """Send bytes over HTTPS; give the answer's status and what follows, 0 if there is none."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.https, ssl=self.held.nobody.tls)
        try:
            async with asyncio.timeout(PATIENCE_S):
                writer.write(request)
                answer = await reader.read(65_536)
        except ConnectionError:
            answer = b""
        finally:
            writer.transport.abort()
        return (int(answer.split()[1]) if answer else 0), answer


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """Serve all."""
    async with AsyncExitStack() as lives:
        held = await lives.enter_async_context(stronghold(tmp_path))
        listening = lives.enter_context(listen.bound("127.0.0.1", 0))
        tls = ServerTls(held.authority, ["127.0.0.1", "localhost"], held.clock).context(clients=False)
        await lives.enter_async_context(listen.served(create(held.world, door=Door()), listening, tls))
        token = (await tokens.create(held.world, "admin", Role.ADMIN))[1]
        yield Front(held, listening.getsockname()[1], shown(await held.enrolled(ME)), token)


# ── slow ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def ended_after(port: int, context: ssl.SSLContext | None, said: bytes, drip: bytes = b"") -> float:
    """Connect, say something, then a byte now and then; give how long it was until the server ended it."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(said)
        async with asyncio.timeout(ENDS_WITHIN_S):
            gone = asyncio.ensure_future(_end(reader))
            for byte in drip:
                if (await asyncio.wait({gone}, timeout=0.2))[0]:
                    break
                writer.write(bytes([byte]))
            await gone
    finally:
        writer.transport.abort()
    return time.monotonic() - began


async def _end(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65_536):  # a server's own preface is no end
            pass
    except OSError:
        return


async def test_the_slow_are_ended_and_keep_nobody_waiting(front: Front) -> None:
    """On each port: silence instead of a handshake, silence after it, and a request byte by byte (slow-loris)."""
    held, device = front.held, front.me
    grpc_port, enrol_port = (int(place.rpartition(":")[2]) for place in (held.gateway, held.enrol))
    connect = encode(Connect(ME, True, 60))
    nobody = held.nobody.tls
    slow = {
        "MQTT without a handshake": ended_after(held.broker.port, None, b""),
        "MQTT, half a handshake": ended_after(held.broker.port, None, b"\x16\x03\x01\x02\x00\x01"),
        "MQTT without CONNECT": ended_after(held.broker.port, device.tls, b""),
        "MQTT, half a CONNECT": ended_after(held.broker.port, device.tls, connect[:-3]),
        "MQTT, CONNECT by bytes": ended_after(held.broker.port, device.tls, b"\x10\x7f", connect[2:] + bytes(100)),
        "gateway without a handshake": ended_after(grpc_port, None, b""),
        "gateway without a preface": ended_after(grpc_port, _h2(device.tls), b""),
        "enrolment without a handshake": ended_after(enrol_port, None, b""),
        "enrolment without a preface": ended_after(enrol_port, _h2(nobody), b""),
        "enrolment, half a preface": ended_after(enrol_port, _h2(held.nobody.tls), b"PRI * HTTP/2.0\r\n"),
        "HTTPS without a request": ended_after(front.https, nobody, b""),
        "HTTPS, half a request": ended_after(front.https, nobody, b"GET / HTTP/1.1\r\nhost: local"),
        "HTTPS, headers by bytes": ended_after(front.https, nobody, b"GET / HTTP/1.1\r\n", b"x-a: b\r\n" * 40),
        "HTTPS, a second request by bytes": ended_after(
            front.https, nobody, b"GET /v1/health/live HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HT", b"x-a: b\r\n" * 40
        ),
    }
    waits = [asyncio.create_task(attack, name=name) for name, attack in slow.items()]
    for _ in range(3):
        await front.serves_others()
    lasted = dict(zip(slow, await asyncio.gather(*waits), strict=True))
    assert max(lasted.values()) < ENDS_WITHIN_S, lasted
    await front.serves_others()


def _h2(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["h2"])
    return context


async def test_many_idle_connections_keep_nobody_waiting(front: Front) -> None:
    """Two hundred on each port, with and without a handshake."""
    ports = [front.held.broker.port, front.https]
    ports += [int(place.rpartition(":")[2]) for place in (front.held.gateway, front.held.enrol)]
    opened: list[asyncio.StreamWriter] = []
    try:
        for port in ports:
            for _ in range(MANY):
                opened += [(await asyncio.open_connection("127.0.0.1", port))[1]]
        for _ in range(20):
            opened += [(await asyncio.open_connection("127.0.0.1", front.https, ssl=front.held.nobody.tls))[1]]
        await front.serves_others()
    finally:
        for writer in opened:
            writer.transport.abort()


async def test_a_storm_of_handshakes_does_not_end_the_process(front: Front) -> None:
    """Strangers who come and go by the dozen, in mid-handshake: gRPC swaps certificates without a lock, if told to.

    And each port shows the servers' next certificate once there is one.
    """
    ports = [int(place.rpartition(":")[2]) for place in (front.held.gateway, front.held.enrol)]
    before = [await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)) for port in ports]
    for _ in range(5):
        for port in ports:
            writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(60)]
            for writer in writers:
                writer.write(b"\x16\x03\x01")
                writer.transport.abort()
    await front.serves_others()
    assert front.held.tls.renew_if_due(front.held.clock.now() + timedelta(days=60))
    after = [await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)) for port in ports]
    assert len({*before, *after}) == 2
    assert set(before).isdisjoint(after)


async def test_one_device_does_not_take_all_the_places() -> None:
    """Its seventeenth call at the same time is told to come back; another device's is served."""
    peers, over = Peers(Roll(), certified=False), asyncio.Event()

    async def call(device: str) -> None:
        with peers.call(None, device):  # type: ignore[arg-type]  # without TLS it is not looked at
            await over.wait()

    calls = [asyncio.create_task(call(ME)) for _ in range(16)]
    await asyncio.sleep(0)
    with pytest.raises(Full, match="too many calls of device box-1 at once"):
        await call(ME)
    calls.append(asyncio.create_task(call("box-2")))
    await asyncio.sleep(0)
    over.set()
    await asyncio.gather(*calls)
    await call(ME)


async def test_a_body_that_comes_too_slowly_is_ended() -> None:
    """A JSON body has its time in all, not from byte to byte; a file goes by its own rule (gates/http/upload.py)."""
    answers: list[Message] = []

    async def app(scope: object, receive: Callable[..., object], send: Callable[..., object]) -> None:
        await Request(scope, receive).body()  # type: ignore[arg-type]
        await PlainTextResponse("read")(scope, receive, send)  # type: ignore[arg-type]

    async def dripping() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Message) -> None:
        answers.append(message)

    guard = Guard(app, 10, frozenset(), json_within_s=0.1)
    scope = {"type": "http", "method": "POST", "path": "/v1/runs", "headers": [(b"host", b"localhost")]}
    with pytest.raises(Exception, match="too slowly"):
        await guard(scope, dripping, send)
    assert answers == []


# ── large ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [262_145, 1 << 20, 268_435_455])
async def test_a_large_mqtt_packet_is_refused_by_its_header(front: Front, size: int) -> None:
    """Before its body is waited for, be it the first packet or a later one."""
    async with connected(front.held.broker.port, ME, tls=front.me.tls) as (client, _):
        await client.send_bytes(b"\x32" + varint(size))
        assert await client.ending() == Reason.PACKET_TOO_LARGE
    lasted = await ended_after(front.held.broker.port, front.me.tls, b"\x10" + varint(size))
    assert lasted < Limits().connect_s, "by its size, not by its slowness"


async def test_large_topics_and_ids_are_refused(front: Front) -> None:
    """Long ones, deep ones, many of them; the broker goes on."""
    port = front.held.broker.port
    own = topics.down_filter(ME)
    for name in ("x" * 257, "x" * 65_535):
        assert await front.held.connects(front.me, name) in {Reason.CLIENT_ID_NOT_VALID, Reason.NOT_AUTHORIZED}
    async with connected(port, ME, tls=front.me.tls) as (client, _):
        for topic in ("x" * 65_535, "/" * 60_000, "hw/v1/d/box-1/up/" + "x/" * 100):
            assert await client.publish(topic, b"") in {Reason.TOPIC_NAME_INVALID, Reason.NOT_AUTHORIZED}
            assert set(await client.subscribe(topic)) <= {Reason.TOPIC_FILTER_INVALID, Reason.NOT_AUTHORIZED}
        reasons = await client.subscribe(*(f"$share/{number}/{own}" for number in range(150)))
        assert reasons.count(1) == Limits().subscriptions
        assert set(reasons) == {1, Reason.QUOTA_EXCEEDED}
    await front.serves_others()


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
@pytest.mark.parametrize("size", [5 << 20, 64 << 20])
async def test_a_large_message_to_the_gateway_is_refused(
    front: Front, size: int, compression: grpc.Compression
) -> None:
    """Also one that is small only as long as it is compressed (RFC 1951 shrinks zeros a thousandfold)."""
    async with front.held.calling(front.me) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Sync(
                pb.SyncRequest(device=ME, hello_hash="0" * size), timeout=PATIENCE_S, compression=compression
            )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await front.serves_others()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize("field", ["secret", "csr"])
async def test_a_large_message_of_a_stranger_is_refused(
    front: Front, field: str, compression: grpc.Compression
) -> None:
    """The enrolment service takes 64 KiB, compressed or not."""
    message = enrol_pb.EnrollRequest(**{field: bytes(4 << 20)})  # type: ignore[arg-type]
    assert (await front.enrol("Enroll", message, compression=compression))[0] == "RESOURCE_EXHAUSTED"
    await front.serves_others()


async def test_large_metadata_is_refused(front: Front) -> None:
    """A megabyte of headers on a call ends the call, and nothing else."""
    status, _ = await front.enrol("Anchors", enrol_pb.AnchorsRequest(), metadata=[("x", "y" * 1_000_000)])
    assert status == "RESOURCE_EXHAUSTED"
    await front.serves_others()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 1_000_000,
        b"GET /" + b"y" * 1_000_000,
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 100_000,
        b"\0" * 100_000,
        b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"f" * 20
        + b"\r\n",
        b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
    ],
    ids=["header", "path", "headers", "binary", "huge length", "negative length", "two framings", "two lengths"],
)
async def test_large_and_crooked_requests_are_refused(front: Front, request_: bytes) -> None:
    """With 4xx, or by the end of the connection."""
    status, _ = await front.says(request_)
    assert status == 0 or 400 <= status < 500
    await front.serves_others()


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/invites", "/v1/tokens"])
async def test_large_and_deep_bodies_are_refused(front: Front, path: str) -> None:
    """Beyond the limit, nested a hundred thousand times, with a number of a million digits: 4xx, and no 5xx."""
    deep = b"[" * 100_000 + b"]" * 100_000
    for body in (
        b" " * (JSON_LIMIT_BYTES + 1), deep, b'{"a":' * 100_000, b"9" * 1_000_000, b'"' + b"x" * 1_000_000 + b'"',
        b"\xff\xfe" * 1000, b'{"uses": 1e999999}',
    ):  # fmt: skip
        status, answer = await front.post(path, body)
        assert 400 <= status < 500, answer[:500]


async def test_a_chunked_body_is_counted_too(front: Front) -> None:
    """Without a length in advance it ends where the limit is."""
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    head = f"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {front.token}\r\n".encode()
    head += b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    status, _ = await front.says(head + chunk * 20)
    assert status == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_an_http_body_is_not_unpacked(front: Front, coding: str) -> None:
    """A bomb by Content-Encoding stays as small as it came, and is no JSON."""
    status, _ = await front.post("/v1/invites", gzip.compress(bytes(50_000_000)), f"content-encoding: {coding}")
    assert 400 <= status < 500


@pytest.mark.parametrize(
    "invite",
    [
        {"labels": {f"k{number}": "v" for number in range(51)}},
        {"labels": {"k" * 65: "v"}},
        {"labels": {"k": "v" * 65}},
        {"labels": {"../k": "v"}},
        {"labels": {"k": "a/b"}},
        {"device": "../box"},
        {"device": "x" * 65},
        {"host": "h" * 254},
        {"uses": 10**30},
        {"ttl_s": 1e300},
    ],
    ids=lambda invite: json.dumps(invite)[:30],
)
async def test_large_and_crooked_invitations_are_refused(front: Front, invite: dict[str, object]) -> None:
    """Labels, names, counts and times have bounds."""
    status, answer = await front.post("/v1/invites", json.dumps(invite).encode())
    assert status in {409, 422}, answer[:500]
    async with front.held.world.store.read() as tx:
        assert len(await tx.invites.all()) == 1, "the one that box-1 came by"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/devices/..%2f..%2fetc%2fpasswd",
        "/v1/devices/%2e%2e/disable",
        "/v1/runs/..%00",
        "/v1/versions/..%2f..%2fca%2froot.key",
        "/v1/versions/../../ca/root.key",
        "/v1/versions/%5c..%5cx/onnx",
        "//etc/passwd",
        "/v1/models/..%2fx",
    ],
)
async def test_no_path_leads_out_of_the_api(front: Front, path: str) -> None:
    """Names in URLs are names: no key, no file, and no failure of ours."""
    head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {front.token}\r\n\r\n"
    status, answer = await front.says(head.encode())
    assert 400 <= status < 500, answer[:300]
    assert b"PRIVATE KEY" not in answer
    assert b"root:" not in answer
