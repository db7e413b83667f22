"""Attacks by the slow and the many: every server goes on serving others, and ends the slow."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import timedelta

import pytest
from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.packets import Connect
from headwater_control.gates.http.guard import Guard
from headwater_control.gates.peers import Peers
from headwater_control.gates.status import Full
from headwater_control.service.roll import Roll
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message

from tests.support.front import ENDS_WITHIN_S, ME, Front, ended_after

pytestmark = pytest.mark.long

MANY = 200


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
