"""An MQTT client that sends just what it is told to, and shows every packet it gets."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.framing import Decoder
from headwater_control.edges.broker.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Subscription,
    Will,
)
from headwater_control.edges.broker.properties import ConnectProperties, PublishProperties

DEADLINE_S = 10.0


class Closed(Exception):
    """The broker closed the connection."""


class RawClient:
    """One connection. Every wait has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._decoder = Decoder(1 << 28)
        self._seen: list[Packet] = []
        self._ids = count(1)

    async def send(self, *packets: Packet) -> None:
        """Send packets in one piece."""
        await self.send_bytes(b"".join(map(encode, packets)))

    async def send_bytes(self, data: bytes) -> None:
        """Send anything."""
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE_S):
            await self.writer.drain()

    async def next(self) -> Packet:
        """Wait for a packet; raise `Closed` if the connection ends instead."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._seen:
                try:
                    data = await self._reader.read(65_536)
                except ConnectionError as error:
                    raise Closed from error
                if not data:
                    raise Closed
                self._decoder.feed(data)
                while (packet := self._decoder.next()) is not None:
                    self._seen.append(packet)
        return self._seen.pop(0)

    async def message(self) -> Publish:
        """Wait for a message."""
        packet = await self.next()
        assert isinstance(packet, Publish), packet
        return packet

    async def messages(self, number: int) -> list[Publish]:
        """Wait for several."""
        return [await self.message() for _ in range(number)]

    async def rest(self) -> list[Packet]:
        """Collect what comes until the broker closes."""
        found: list[Packet] = []
        try:
            while True:
                found.append(await self.next())
        except Closed:
            return found

    async def so_far(self) -> list[Packet]:
        """Collect what the broker has sent by now: its answer to a ping comes after it."""
        await self.send(Pingreq())
        found: list[Packet] = []
        while not isinstance(packet := await self.next(), Pingresp):
            found.append(packet)
        return found

    async def ending(self) -> int | None:
        """Wait for the end, and tell the reason the broker gave."""
        reasons = [packet.reason for packet in await self.rest() if isinstance(packet, Disconnect)]
        return reasons[-1] if reasons else None

    async def subscribe(self, *filters: str, qos: int = 1) -> tuple[int, ...]:
        """Subscribe, and give the reasons."""
        await self.send(Subscribe(next(self._ids), tuple(Subscription(text, qos) for text in filters)))
        answer = await self.next()
        assert isinstance(answer, Suback), answer
        return answer.reasons

    async def publish(self, topic: str, payload: bytes = b"", qos: int = 1, **properties: object) -> int | None:
        """Publish; with QoS 1 wait for the answer, and give its reason."""
        made = PublishProperties(**properties)  # type: ignore[arg-type]
        await self.send(Publish(topic, payload, qos, next(self._ids) if qos else 0, properties=made))
        if not qos:
            return None
        answer = await self.next()
        assert isinstance(answer, Puback), answer
        return answer.reason

    async def ack(self, *messages: Publish) -> None:
        """Acknowledge."""
        await self.send(*(Puback(message.packet_id) for message in messages))

    async def vanish(self) -> None:
        """Cut the connection without a word."""
        self.writer.transport.abort()
        async with asyncio.timeout(DEADLINE_S):
            try:
                await self.writer.wait_closed()
            except ConnectionError:
                return

    async def leave(self, reason: int = 0) -> None:
        """Disconnect, and wait until the broker has closed."""
        await self.send(Disconnect(reason))
        await self.rest()


@asynccontextmanager
async def opened(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawClient]:
    """Open a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        await client.vanish()


@asynccontextmanager
async def connected(
    port: int,
    client_id: str = "",
    *,
    clean: bool = True,
    expiry_s: int | None = None,
    receive_maximum: int | None = None,
    keep_alive_s: int = 60,
    will: Will | None = None,
    username: str | None = None,
    password: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[RawClient, Connack]]:
    """Open a connection and introduce a client: it, and the broker's answer."""
    async with opened(port, tls) as client:
        asked = ConnectProperties(session_expiry_s=expiry_s, receive_maximum=receive_maximum)
        await client.send(Connect(client_id, clean, keep_alive_s, will, username, password, asked))
        answer = await client.next()
        assert isinstance(answer, Connack), answer
        yield client, answer
