"""A broker that was taken over sends what none may: agent and control plane end the connection, and hold none of it."""

import asyncio
import math
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import aiomqtt
import pytest
from headwater_agent.edges.connection import PatientClient, connection
from headwater_control.link import Link
from headwater_wire import intake

DEADLINE_S = 10.0
ACCEPTED = b"\x20\x03\x00\x00\x00"  # CONNACK
TOPIC = b"\x00\x01t"
FLOOD = 48 << 20
BLOCK = bytes(1 << 16)

Connect = Callable[[int], AbstractAsyncContextManager[aiomqtt.Client]]


def packet(first: int, size: int) -> bytes:
    """Begin a packet of so many bytes, less its header."""
    header = bytearray([first])
    while size >= 128:
        header.append(size % 128 | 128)
        size //= 128
    return bytes([*header, size])


@asynccontextmanager
async def agent(port: int) -> AsyncIterator[aiomqtt.Client]:
    """Come as an agent does."""
    client = PatientClient(
        "127.0.0.1", port, identifier="box-1", protocol=aiomqtt.ProtocolVersion.V5, timeout=math.inf, handshake_s=5.0
    )
    async with connection(client, patience_s=DEADLINE_S):
        yield client


@asynccontextmanager
async def control_plane(port: int) -> AsyncIterator[aiomqtt.Client]:
    """Come as the control plane does."""
    async with Link("127.0.0.1", port).connect("ear") as client:
        yield client


class Broker:
    """Answers CONNECT and SUBSCRIBE, says `words`, and sends `flood` zeros after them unless it is left."""

    def __init__(self, words: bytes, flood: int) -> None:
        self.words, self.flood = words, flood
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(ConnectionError):
            await reader.readuntil(b"MQTT\x05")
            writer.write(ACCEPTED)
            await reader.readuntil(b"\x82\x07")
            writer.write(b"\x90\x04" + await reader.readexactly(2) + b"\x00\x01" + self.words)
            for _ in range(0, self.flood, len(BLOCK)):
                writer.write(BLOCK)
                await writer.drain()
            while await reader.read(1 << 16):
                pass
        self.left.set()
        writer.transport.abort()


async def heard(connect: Connect, words: bytes, flood: int, most: int = 1) -> tuple[list[int], int]:
    """Listen to such a broker until it is left; give the lengths of the messages, and the memory that took at most."""
    broker = Broker(words, flood)
    lengths: list[int] = []
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    async with asyncio.timeout(DEADLINE_S), server:
        tracemalloc.start()
        try:
            with suppress(aiomqtt.MqttError):
                async with connect(server.sockets[0].getsockname()[1]) as client:
                    await client.subscribe("t", qos=1)
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        lengths.append(len(message.payload))
                        if len(lengths) == most:
                            break
            await broker.left.wait()
            return lengths, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("connect", [agent, control_plane])
async def test_a_message_as_long_as_was_agreed_is_taken(connect: Connect) -> None:
    """Else the refusals below would prove nothing."""
    body = intake.PACKET_BYTES
    lengths, _ = await heard(connect, packet(0x30, body) + TOPIC + b"\x00", body)
    assert lengths == [body - len(TOPIC) - 1]


@pytest.mark.parametrize("connect", [agent, control_plane])
@pytest.mark.parametrize("size", [intake.PACKET_BYTES + 1, FLOOD, 2**28 - 1])
async def test_an_oversize_packet_is_left_at_its_header(connect: Connect, size: int) -> None:
    """Not a byte of it is held, however much of it comes."""
    lengths, peak = await heard(connect, packet(0x30, size) + TOPIC + b"\x00", FLOOD)
    assert lengths == [] and peak < 2 << 20


@pytest.mark.parametrize("connect", [agent, control_plane])
@pytest.mark.parametrize(
    ("first", "body"),
    [(0x34, TOPIC + b"\x00\x01\x00"), (0x3C, TOPIC + b"\x00\x01\x00"), (0xC0, b""), (0x62, b"\x00\x01")],
    ids=["QoS 2", "QoS 2 again", "PINGREQ", "PUBREL"],
)
async def test_what_would_pile_up_in_the_client_ends_the_connection(connect: Connect, first: int, body: bytes) -> None:
    """Messages that only the broker can release, and questions whose answers it need not read."""
    honest = packet(0x30, len(TOPIC) + 1) + TOPIC + b"\x00"
    lengths, _ = await heard(connect, 3 * (packet(first, len(body)) + body) + honest, 0)
    assert lengths == [], "what comes behind them is not heard any more"
