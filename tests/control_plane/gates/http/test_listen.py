"""The server beneath the HTTP API: how many connections it has, and how many of them are one source's."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from headwater_control.gates.http import listen
from headwater_control.gates.http.app import create
from headwater_control.service.world import World

from tests.support.waiting import until

DEADLINE_S = 10.0
REQUEST = b"GET /v1/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"

Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(host: str, port: int, number: int) -> AsyncIterator[list[Connected]]:
    """Connect so often."""
    made = [await asyncio.open_connection(host, port) for _ in range(number)]
    try:
        yield made
    finally:
        for _, writer in made:
            writer.transport.abort()


@asynccontextmanager
async def serving(world: World, host: str) -> AsyncIterator[int]:
    """Serve without TLS; give the port."""
    with listen.bound(host, 0) as listening:
        async with listen.served(create(world, hosts=frozenset({"localhost"})), listening):
            yield listening.getsockname()[1]


async def answered(connection: Connected) -> bytes:
    """Ask, and give the answer's head and body; nothing, if the connection has ended."""
    reader, writer = connection
    async with asyncio.timeout(DEADLINE_S):
        writer.write(REQUEST)
        try:
            return await reader.read(65_536)
        except ConnectionError:
            return b""


async def served(host: str, port: int) -> bool:
    """Say whether one more is."""
    async with connected(host, port, 1) as (one,):
        return b" 204 " in await answered(one)


@pytest.fixture
def own_address() -> str:
    """Find an address of this machine that is not the loopback's. (Nothing is sent to the one that is asked about.)"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine is in no network")
        return str(asking.getsockname()[0])


async def test_one_source_does_not_take_all_the_places(
    world: World, own_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections beyond its share end; another source is served, and it is again once some of its own are over."""
    monkeypatch.setattr(listen, "_OF_ONE", 3)
    async with serving(world, "0.0.0.0") as port:
        async with connected(own_address, port, 3) as within, connected(own_address, port, 2) as beyond:
            assert [await answered(one) for one in beyond] == [b"", b""]
            assert b" 204 " in await answered(within[0])
            assert await served("127.0.0.1", port)
        await until(lambda: served(own_address, port), "it is served again")


async def test_this_machine_itself_has_all_the_places(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that ends TLS here speaks for many."""
    monkeypatch.setattr(listen, "_OF_ONE", 3)
    async with serving(world, "127.0.0.1") as port, connected("127.0.0.1", port, 5) as many:
        assert all([b" 204 " in await answered(one) for one in many])


async def test_when_it_is_full_it_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a problem with a sentence (RFC 9457), after which the connection ends; then there is a place again."""
    monkeypatch.setattr(listen, "_CONNECTIONS", 3)
    async with serving(world, "127.0.0.1") as port:
        async with connected("127.0.0.1", port, 3) as (*_, last):
            head, _, body = (await answered(last)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"content-type: application/problem+json" in head
            assert "too many connections: try again later" in json.loads(body)["detail"]
            assert await last[0].read() == b""
        await until(lambda: served("127.0.0.1", port), "it is served again")


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("127.0.0.1", ""),
        ("::1", ""),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_source_is_an_address_or_what_one_customer_has(host: str, source: str) -> None:
    """Of IPv6 a /64; the loopback's is nobody's."""
    assert listen._limited(host) == source
