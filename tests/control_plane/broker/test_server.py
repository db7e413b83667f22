"""The broker on real sockets: both event loops, well-behaved clients, bad ones, and those that don't read."""

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiomqtt
import pytest
from headwater_control.edges.broker import Broker, Limits, serve
from headwater_control.edges.broker import packets as p
from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.properties import PublishProperties
from headwater_control.edges.broker.reasons import Reason

from tests.control_plane.broker.raw_client import DEADLINE_S, Closed, RawClient, connected, opened
from tests.fuzzing.codec import Codec, pieces
from tests.support.waiting import until


def client(port: int, name: str) -> aiomqtt.Client:
    """Make the client that agents and the control plane use."""
    return aiomqtt.Client("127.0.0.1", port, identifier=name, protocol=aiomqtt.ProtocolVersion.V5)


async def settled(broker: Broker, connections: int) -> None:
    """Wait until the broker has that many connections."""
    await until(lambda: broker.connections == connections, f"{connections} connections")


async def test_aiomqtt_finds_a_broker_it_understands() -> None:
    """The client that agents and the control plane use subscribes, publishes and receives."""
    async with asyncio.timeout(DEADLINE_S), serve("127.0.0.1", 0) as broker:
        async with client(broker.port, "in") as reader, client(broker.port, "out") as writer:
            await reader.subscribe("$share/control/hw/+/up/#", qos=1)
            for number in range(10):
                await writer.publish(f"hw/{number}/up/x", str(number), qos=number % 2)
            numbers = set()
            async for message in reader.messages:
                assert isinstance(message.payload, bytes)
                numbers.add(int(message.payload))
                if len(numbers) == 10:
                    break
        await settled(broker, 0)
        assert broker.sessions == 0
        assert broker.totals().messages_in == broker.totals().messages_out == 10


async def test_a_session_survives_its_connection() -> None:
    """What was sent meanwhile, or not acknowledged, comes on resume, with DUP where it had been sent before."""
    async with serve("127.0.0.1", 0) as broker, connected(broker.port, "out") as (writer, _):
        async with connected(broker.port, "in", expiry_s=60) as (reader, _):
            await reader.subscribe("t")
            await writer.publish("t", b"first")
            assert not (await reader.message()).dup
        await settled(broker, 1)
        await writer.publish("t", b"second")
        async with connected(broker.port, "in", clean=False, expiry_s=60) as (reader, welcome):
            assert welcome.session_present
            assert [(m.payload, m.dup) for m in await reader.messages(2)] == [(b"first", True), (b"second", False)]


async def test_time_passes_on_its_own() -> None:
    """The one case in real time: a will whose delay is a second is published about then, by the loop's timer."""
    will = p.Will("will/a", b"gone", 1, properties=PublishProperties(will_delay_s=1))
    async with serve("127.0.0.1", 0) as broker, connected(broker.port, "watcher") as (watcher, _):
        await watcher.subscribe("will/#")
        loop = asyncio.get_running_loop()
        async with connected(broker.port, "a", expiry_s=60, will=will) as (dying, _):
            before = loop.time()
            await dying.vanish()
        assert (await watcher.message()).payload == b"gone"
        assert loop.time() - before >= 1.0


async def test_a_client_that_closes_its_side_is_gone() -> None:
    """The end of its stream is its end, though it might still read: its will is published, its socket closed."""
    will = p.Will("will/a", b"gone", 1)
    async with serve("127.0.0.1", 0) as broker, connected(broker.port, "watcher") as (watcher, _):
        await watcher.subscribe("will/#")
        async with connected(broker.port, "a", will=will) as (half, _):
            half.writer.write_eof()
            assert (await watcher.message()).payload == b"gone"
            assert await half.rest() == []
        await settled(broker, 1)


async def test_a_deadline_that_has_passed_already_is_met() -> None:
    """With no time at all to introduce themselves, strangers that come together are all closed at once."""
    async with serve("127.0.0.1", 0, limits=Limits(connect_s=0.0)) as broker, AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(opened(broker.port)) for _ in range(20)]
        async with asyncio.timeout(DEADLINE_S):
            assert await asyncio.gather(*(stranger.rest() for stranger in strangers)) == [[]] * 20
        await settled(broker, 0)


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x30\xff\xff\xff\x7f", Reason.PACKET_TOO_LARGE),
        (b"\x00\x00", Reason.MALFORMED_PACKET),
        (b"\x30\x04\x00\x01+\x00", Reason.TOPIC_NAME_INVALID),
        (b"\x30\x04\x00\x01\xff\x00", Reason.MALFORMED_PACKET),
        (b"\x34\x06\x00\x01t\x00\x01\x00", Reason.QOS_NOT_SUPPORTED),
        (b"\x31\x04\x00\x01t\x00", Reason.RETAIN_NOT_SUPPORTED),
    ],
)
async def test_the_reason_of_a_violation_arrives(data: bytes, reason: Reason) -> None:
    """The client reads DISCONNECT and then the end, though it goes on sending; the broker serves others meanwhile."""
    async with serve("127.0.0.1", 0) as broker, connected(broker.port, "good") as (good, _):
        async with connected(broker.port, "bad") as (bad, _):
            await bad.send_bytes(data + b"\xaa" * 100_000)
            assert await bad.ending() == reason
        assert await good.so_far() == []


async def test_an_oversized_packet_is_never_held(caplog: pytest.LogCaptureFixture) -> None:
    """The header is enough: the connection ends before a single byte of the body was sent, and the log says why."""
    limits = Limits(packet_bytes=1000)
    with caplog.at_level(logging.WARNING):
        async with serve("127.0.0.1", 0, limits=limits) as broker, connected(broker.port, "big") as (big, _):
            await big.send_bytes(b"\x30\xe8\x07")  # 1,000 bytes to follow: 1,003 in all
            assert await big.ending() == Reason.PACKET_TOO_LARGE
            assert broker.totals().malformed == 1
    assert "'big': disconnected: a packet of 1003 bytes: the maximum is 1000" in caplog.text


async def test_an_older_version_is_answered() -> None:
    """A client of MQTT 3.1.1 gets a CONNACK that says so (0x84), and the end."""
    async with serve("127.0.0.1", 0) as broker, opened(broker.port) as old:
        await old.send_bytes(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        assert await old.rest() == [p.Connack(Reason.UNSUPPORTED_VERSION)]


async def test_the_broker_lives_on_under_a_hail_of_bad_packets() -> None:
    """A hundred and fifty connections send the fuzzer's inputs; a healthy client gets every message all the while."""
    source, fuzzer = random.Random(7), Codec()
    hello = encode(p.Connect("hail", True))
    async with (
        serve("127.0.0.1", 0, limits=Limits(packet_bytes=1000)) as broker,
        connected(broker.port, "in") as (reader, _),
        connected(broker.port, "out") as (writer, _),
    ):
        await reader.subscribe("healthy/#")
        for number in range(150):
            async with opened(broker.port) as hail:
                first, second = pieces(fuzzer.make(source))
                try:
                    if number % 4:
                        await hail.send_bytes(hello)
                    await hail.send_bytes(first)
                    # what an unfinished packet does not swallow of the zeros is no packet
                    await hail.send_bytes(second + (bytes(2000) if number % 3 else b""))
                    if number % 3:
                        await hail.rest()
                except (Closed, ConnectionError):
                    pass
            assert await writer.publish("healthy/x", str(number).encode()) == 0
            message = await reader.message()
            assert message.payload == str(number).encode()
            await reader.ack(message)
        await settled(broker, 2)
        assert broker.totals().malformed > 75


async def test_a_flood_of_small_packets_lets_others_have_their_turn() -> None:
    """A client that sends twenty thousand pings at once does not keep a second one waiting behind all of them."""
    async with (
        serve("127.0.0.1", 0) as broker,
        connected(broker.port, "quick") as (quick, _),
        connected(broker.port, "flood") as (flood, _),
    ):
        flood.writer.write(encode(p.Pingreq()) * 20_000)
        before = broker.totals().packets_in
        await quick.so_far()
        assert broker.totals().packets_in - before < 10_000
        for _ in range(20_000):
            assert await flood.next() == p.Pingresp()


async def test_a_publisher_beyond_its_share_rests_and_is_heard_again() -> None:
    """What it sends meanwhile waits on its side, and is handled after; others are not kept waiting."""
    limits = Limits(share_messages=2, rest_s=0.05)
    async with (
        serve("127.0.0.1", 0, limits=limits) as broker,
        connected(broker.port, "gate") as (gate, _),
        connected(broker.port, "flood") as (flood, _),
        connected(broker.port, "other") as (other, _),
    ):
        await gate.subscribe("$share/g/t")
        await flood.send(*(p.Publish("t", b"flood", 1, number) for number in range(1, 6)))
        assert await other.publish("t", b"other") == 0
        flooded = await gate.messages(3)
        assert sorted(message.payload for message in flooded) == [b"flood", b"flood", b"other"]
        await gate.ack(*flooded)
        assert await gate.so_far() == []
        assert await flood.so_far() == [
            p.Puback(number, Reason.SUCCESS if number < 3 else Reason.QUOTA_EXCEEDED) for number in range(1, 6)
        ]
        assert await flood.publish("t", b"again") == Reason.SUCCESS
        assert (await gate.message()).payload == b"again"


async def test_a_publisher_that_dies_while_it_rests_is_found_dead() -> None:
    """Its deadline runs on, however long it is not to be read."""
    async with (
        serve("127.0.0.1", 0, limits=Limits(share_messages=1, rest_s=3600)) as broker,
        connected(broker.port, "gate") as (gate, _),
        connected(broker.port, "flood", keep_alive_s=1, will=p.Will("w", b"gone", 1)) as (flood, _),
    ):
        await gate.subscribe("$share/g/t", "w")
        await flood.send(p.Publish("t", b"1", 1, 1), p.Publish("t", b"2", 1, 2))
        assert [message.payload for message in await gate.messages(2)] == [b"1", b"gone"]
        assert await flood.ending() == Reason.KEEP_ALIVE_TIMEOUT


# ── slow clients ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def stubborn() -> AsyncIterator[socket.socket]:
    """Open a socket that takes little and is never read."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.setblocking(False)
        yield made


@pytest.mark.parametrize("reads_nothing_of", ["its messages", "its answers"])
async def test_a_client_that_does_not_read_is_cut_off(stubborn: socket.socket, reads_nothing_of: str) -> None:
    """What waits for it stays within bounds, and it is closed when its time is up, whether it subscribes or pings."""
    loop = asyncio.get_running_loop()
    limits = Limits(stall_s=0.3, queue_bytes=500_000, socket_buffer_bytes=8192)
    async with serve("127.0.0.1", 0, limits=limits) as broker, connected(broker.port, "out") as (writer, _):
        await loop.sock_connect(stubborn, ("127.0.0.1", broker.port))
        await loop.sock_sendall(stubborn, encode(p.Connect("stubborn")))
        gone = asyncio.Event()

        async def press() -> None:
            """Keep sending until the broker has cut the stubborn client off."""
            if reads_nothing_of == "its messages":
                await loop.sock_sendall(stubborn, encode(p.Subscribe(1, (p.Subscription("t", 0),))))
                while broker.totals().stalled == 0:
                    await writer.send(*[p.Publish("t", b"x" * 10_000)] * 20)
                    assert await writer.so_far() == []
            else:
                while broker.totals().stalled == 0:
                    try:
                        await loop.sock_sendall(stubborn, encode(p.Pingreq()) * 50_000)
                    except ConnectionError:
                        break
            gone.set()

        pressing = asyncio.create_task(press(), name="press")
        async with asyncio.timeout(DEADLINE_S):
            await gone.wait()
        await pressing
        await settled(broker, 1)
        totals = broker.totals()
        assert totals.stalled == 1
        assert await writer.so_far() == []
        # what the kernel took, our buffer and one burst; not what was pressed on it
        assert totals.bytes_out < 2_000_000
        if reads_nothing_of == "its messages":
            assert sum(totals.drops.values()) > 0


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_closing_says_goodbye() -> None:
    """Every client reads DISCONNECT 0x8B, strangers only the end; as they go the broker closes; its port is free."""

    async def see_out(client: RawClient) -> list[p.Packet]:
        packets = await client.rest()
        await client.vanish()
        return packets

    async with AsyncExitStack() as stack:
        async with serve("127.0.0.1", 0, limits=Limits(linger_s=DEADLINE_S)) as broker:
            port = broker.port
            known, _ = await stack.enter_async_context(connected(port, "known"))
            stranger = await stack.enter_async_context(opened(port))
            await settled(broker, 2)
            known_end = asyncio.create_task(see_out(known), name="known")
            stranger_end = asyncio.create_task(see_out(stranger), name="stranger")
        assert await known_end == [p.Disconnect(Reason.SERVER_SHUTTING_DOWN)]
        assert await stranger_end == []
        async with serve("127.0.0.1", port) as again:
            assert again.port == port


async def test_closing_does_not_wait_for_a_client_that_stays() -> None:
    """A client that ignores the goodbye is cut off after `linger_s`."""
    async with (
        AsyncExitStack() as stack,
        asyncio.timeout(DEADLINE_S),
        serve("127.0.0.1", 0, limits=Limits(linger_s=0.05)) as broker,
    ):
        await stack.enter_async_context(connected(broker.port, "stays"))
        await settled(broker, 1)


async def test_a_bug_in_a_hook_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """An exception out of the authorizer is logged, that client is closed, and the broker lives on."""

    def authorize(client_id: str, action: str, topic: str) -> bool:
        if topic == "boom":
            raise RuntimeError("a bug")
        return True

    async with serve("127.0.0.1", 0, authorize=authorize) as broker, connected(broker.port, "good") as (good, _):
        async with connected(broker.port, "unlucky") as (unlucky, _):
            await unlucky.send(p.Publish("boom", b""))
            await unlucky.rest()
        assert await good.so_far() == []
    assert "a bug" in caplog.text


async def test_a_fleet_connects_at_once() -> None:
    """Two hundred clients that all come in the same instant are all welcomed and hear of each other."""
    async with asyncio.timeout(30), serve("127.0.0.1", 0) as broker, AsyncExitStack() as stack:

        async def join(number: int) -> None:
            peer, welcome = await stack.enter_async_context(connected(broker.port, f"box-{number}"))
            assert welcome.reason == 0
            await peer.subscribe(f"hw/v1/d/box-{number}/dn/#")
            peers.append(peer)

        peers: list[object] = []
        async with asyncio.TaskGroup() as joining:
            for number in range(200):
                joining.create_task(join(number), name=f"join.{number}")
        assert broker.connections == len(peers) == 200
