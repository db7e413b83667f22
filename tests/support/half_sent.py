"""HTTP/2 by hand (RFC 9113): gRPC calls of which the head comes, and of their message nothing, or never the end."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_ACK, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4
_FRAME_BYTES = 16_384  # RFC 9113, 6.5.2
_ALL = 0  # the stream that is the connection


def half_call(method: str) -> bytes:
    """Begin a connection and, in it, a call of `/package.Service/Method`."""
    return _preface() + _head(method, 1)


def _preface() -> bytes:
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"")


def _head(method: str, stream: int) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    head = b"".join(_field(name.encode(), value.encode()) for name, value in fields.items())
    return _frame(_HEADERS, _END_HEADERS, stream, head)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _field(name: bytes, value: bytes) -> bytes:
    """Spell a header out, without index or Huffman (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


@dataclass
class HalfSent:
    """A connection with calls whose messages stop short of their end. It obeys the server's windows."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent: int = 0  # bytes of messages
    answers: int = 0
    ended: bool = False  # by the server
    _initial: int = 65_535
    _windows: dict[int, int] = field(default_factory=lambda: {_ALL: 65_535})
    _left: dict[int, bytes] = field(default_factory=dict)

    def call(self, method: str, message: bytes, missing: int) -> None:
        """Begin a call whose message is said to have so many bytes more than come."""
        stream = 2 * len(self._left) + 1
        self._windows[stream] = self._initial
        self._left[stream] = b"\0" + (len(message) + missing).to_bytes(4, "big") + message
        self.writer.write(_head(method, stream))
        self._send()

    @property
    def done(self) -> bool:
        """Say whether all has been sent."""
        return not any(self._left.values())

    async def run(self) -> None:
        """Go on as the server lets us, until it ends."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                self._heard(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
                self._send()
        self.ended = True

    def _heard(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == _HEADERS:
            self.answers += 1
        elif kind == _PING and not flags & _ACK:
            self.writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            for place in range(0, len(payload), 6):
                if int.from_bytes(payload[place : place + 2], "big") == _INITIAL_WINDOW_SIZE:
                    self._begin_with(int.from_bytes(payload[place + 2 : place + 6], "big"))
            self.writer.write(_frame(_SETTINGS, _ACK, 0, b""))

    def _begin_with(self, window: int) -> None:
        for stream in self._left:
            self._windows[stream] += window - self._initial
        self._initial = window

    def _send(self) -> None:
        for stream, left in self._left.items():
            while left and (most := min(_FRAME_BYTES, self._windows[stream], self._windows[_ALL])) > 0:
                piece, left = left[:most], left[most:]
                self._left[stream] = left
                self._windows[stream] -= len(piece)
                self._windows[_ALL] -= len(piece)
                self.sent += len(piece)
                self.writer.write(_frame(_DATA, 0, stream, piece))


@asynccontextmanager
async def half_sent(port: int, context: ssl.SSLContext) -> AsyncIterator[HalfSent]:
    """Connect."""
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    made = HalfSent(reader, writer)
    writer.write(_preface())
    running = asyncio.create_task(made.run(), name="half_sent")
    try:
        yield made
    finally:
        running.cancel()
        writer.transport.abort()
