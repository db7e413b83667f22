"""Attacks by the slow and the many: every server goes on serving others, and ends the slow."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.packets import Connect
from headwater_control.gates.halves import Bounds
from headwater_control.gates.http.guard import Guard
from headwater_control.gates.lifetime import Lifetime
from headwater_control.gates.peers import Peers
from headwater_control.gates.status import Full
from headwater_control.service import standing
from headwater_control.service.roll import Roll
from headwater_wire.ids import DeviceId
from headwater_wire.v1.gateway_pb2 import FetchRequest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message

from tests.support.front import ENDS_WITHIN_S, ME, Front, ended_after
from tests.support.half_sent import half_call, half_sent
from tests.support.stronghold import OK, shown, stronghold
from tests.support.waiting import until

pytestmark = pytest.mark.long

MANY = 200
MOST_BYTES = Bounds().strangers_bytes
CHUNK = b"1\r\n \r\n"
EARLY = {  # requests that are answered before their body is read
    "refused": "POST /v1/runs HTTP/1.1\r\nhost: localhost",
    "from a page elsewhere": "POST /v1/runs HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example",
    "for another host": "POST /v1/runs HTTP/1.1\r\nhost: evil.example",
    "not asked for": "GET /v1/health/live HTTP/1.1\r\nhost: localhost",
}


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
    for why, early in EARLY.items():
        for length, drip in (("content-length: 900000", b" " * 200), ("transfer-encoding: chunked", CHUNK * 40)):
            body = ended_after(front.https, nobody, f"{early}\r\n{length}\r\n\r\n".encode(), drip)
            slow[f"HTTPS, the rest of a body that was {why}, {length}"] = body
    oversize = f"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: {10**12}\r\n\r\n".encode()
    slow["HTTPS, the rest of a body that is too large"] = ended_after(front.https, nobody, oversize, b" " * 200)
    waits = [asyncio.create_task(attack, name=name) for name, attack in slow.items()]
    for _ in range(3):
        await front.serves_others()
    lasted = dict(zip(slow, await asyncio.gather(*waits), strict=True))
    assert max(lasted.values()) < ENDS_WITHIN_S, lasted
    await front.serves_others()


async def test_a_call_that_is_never_finished_is_ended(tmp_path: Path) -> None:
    """On both gRPC ports, though of a unary call no handler of ours hears before its message is whole."""
    age = Lifetime(age_s=1.0, grace_s=1.0, idle_s=3600.0)
    async with stronghold(tmp_path, lifetimes=(age, age)) as held:
        device = shown(await held.enrolled(ME))
        gateway, enrol = (int(place.rpartition(":")[2]) for place in (held.gateway, held.enrol))
        lasted = await asyncio.gather(
            ended_after(gateway, _h2(device.tls), half_call("/headwater.v1.Gateway/Sync")),
            ended_after(gateway, _h2(device.tls), half_call("/headwater.v1.Gateway/Fetch")),
            ended_after(enrol, _h2(held.nobody.tls), half_call("/headwater.v1.Enrolment/Enroll")),
            ended_after(enrol, _h2(held.nobody.tls), half_call("/headwater.v1.Enrolment/Challenge")),
        )
        assert all(age.age_s * 0.8 < one < ENDS_WITHIN_S for one in lasted), lasted
        assert await held.knocks(device, ME) == OK


@pytest.mark.parametrize("gate", ["gateway", "enrolment"])
async def test_halves_of_messages_have_a_bound(front: Front, gate: str) -> None:
    """However many connections and calls they come over, of a box that is shut out or a stranger: the largest end."""
    held = front.held
    place, method, size = {
        "gateway": (held.gateway, "/headwater.v1.Gateway/Sync", 1_000_000),
        "enrolment": (held.enrol, "/headwater.v1.Enrolment/Enroll", 60_000),
    }[gate]
    out = shown(await held.enrolled("box-out"))
    await standing.disable(held.world, DeviceId("box-out"), "stolen")
    port = int(place.rpartition(":")[2])
    async with AsyncExitStack() as lives:
        small = await lives.enter_async_context(half_sent(port, out.tls))
        small.call(method, b"", 1)
        made = [await lives.enter_async_context(half_sent(port, out.tls)) for _ in range(6)]
        for one in made:
            for _ in range(20_000_000 // size):
                one.call(method, bytes(size), 1_000)
        await until(lambda: all(one.done or one.ended for one in made), "all is sent, or not taken any more")
        await until(lambda: sum(one.sent for one in made if not one.ended) <= MOST_BYTES, "the bound is kept")
        assert not small.ended
        await front.serves_others()


async def test_halves_of_messages_have_a_bound_after_a_call_too(front: Front) -> None:
    """A box that is let in has a few connections, and may owe the end of some messages over each."""
    port = int(front.held.gateway.rpartition(":")[2])
    whole = FetchRequest(device=ME, digest="0" * 64).SerializeToString()
    async with half_sent(port, front.me.tls) as honest, half_sent(port, front.me.tls) as one:
        for each in (honest, one):
            each.call("/headwater.v1.Gateway/Fetch", whole, 0)
        await until(lambda: bool(honest.answers and one.answers), "both are answered")
        for _ in range(12):
            one.call("/headwater.v1.Gateway/Sync", bytes(1_000_000), 1_000)
        await until(lambda: one.ended, "it ends")
        assert not honest.ended
        await front.serves_others()


async def test_strangers_do_not_take_all_descriptors(front: Front) -> None:
    """Beyond so many connections to the enrolment port a further one is refused, and the other ports are served."""
    port = int(front.held.enrol.rpartition(":")[2])
    context, opened, refused = _h2(front.held.nobody.tls), [], 0
    try:
        for _ in range(520):
            try:
                opened.append((await asyncio.open_connection("127.0.0.1", port, ssl=context))[1])
            except OSError:
                refused += 1
        assert refused >= 8
        assert await front.held.knocks(front.me, ME) == OK
    finally:
        for writer in opened:
            writer.transport.abort()


async def test_who_is_answered_early_may_still_send_the_rest(front: Front) -> None:
    """A client that takes no notice of an answer before its body is out loses neither that nor the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.https, ssl=front.held.nobody.tls)
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            writer.write(f"{EARLY['refused']}\r\ncontent-length: 4\r\n\r\n".encode() + b"[1")
            assert (await reader.readuntil(b"\r\n")).split()[1] == b"401"
            writer.write(b"2]GET /v1/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert await reader.readuntil(b"HTTP/1.1 204")
    finally:
        writer.transport.abort()


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
    assert await front.held.tls.renew_if_due(front.held.clock.now() + timedelta(days=60))
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
