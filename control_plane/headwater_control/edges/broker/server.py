"""The sockets around the exchange: one protocol object a connection, one timer for all deadlines."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from secrets import token_hex
from typing import cast

from headwater_control.edges.broker.exchange import Close, Exchange, Rest, Write
from headwater_control.edges.broker.framing import Decoder
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.link import LinkId
from headwater_control.edges.broker.packets import Packet
from headwater_control.edges.broker.reasons import BadPacket
from headwater_control.edges.broker.reception import reception
from headwater_control.edges.broker.tally import Remark, Tally
from headwater_control.edges.broker.terms import Authenticate, Authorize, Bounded, allow_all, bound_all, welcome_all

logger = logging.getLogger(__name__)

_BACKLOG = 4096  # connections the kernel holds for us: a fleet comes back all at once
_WRITE_BUFFER_BYTES = 65_536  # per connection, beyond the kernel's: then writing pauses
_REMARKS, _REMARKS_S = 20, 10.0  # in the log, within
_TURN_PACKETS = 256  # of one connection, beyond receive_maximum, before others have their turn


class Broker:
    """A running broker."""

    def __init__(self, exchange: Exchange) -> None:
        self.port = 0
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._connections: dict[LinkId, Connection] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # uvloop's handle of a time that has passed does not know its own
        self._turning = False
        self._told_until, self._told, self._untold = 0.0, 0, 0  # remarks in the log, since when, and left out
        self._empty = asyncio.Event()
        self._empty.set()

    def totals(self) -> Tally:
        """Copy what was counted since the start."""
        tally = self._exchange.tally
        return replace(tally, drops=tally.drops.copy())

    @property
    def connections(self) -> int:
        """Count the open connections."""
        return self._exchange.connections

    @property
    def sessions(self) -> int:
        """Count the sessions of connected and of absent clients."""
        return self._exchange.sessions

    @property
    def queued_bytes(self) -> int:
        """Tell how much memory waiting and unacknowledged messages take."""
        return self._exchange.queued_bytes

    def expel(self, client_id: str) -> None:
        """End a client's connection and session, and what of it waits, for who may not be here any more."""
        self._exchange.expel(client_id, self._loop.time())
        self._turn()

    def _open(self, connection: "Connection", peer: str, certificate: bytes) -> LinkId:
        number = self._exchange.opened(peer, self._loop.time(), certificate)
        self._connections[number] = connection
        self._empty.clear()
        self._turn()
        return number

    def _gone(self, number: LinkId) -> None:
        del self._connections[number]
        if not self._connections:
            self._empty.set()
        self._lost(number)

    def _lost(self, number: LinkId) -> None:
        self._exchange.closed(number, self._loop.time())
        self._turn()

    def _turn(self) -> None:
        """Carry out what follows from an event. Writing may pause or close a connection: that joins this turn."""
        if self._turning:
            return
        self._turning = True
        try:
            while commands := self._exchange.take(self._loop.time()):
                for command in commands:
                    connection = self._connections.get(command.link)
                    if connection is None:
                        continue
                    match command:
                        case Write(_, data):
                            connection.transport.write(data)
                        case Rest(_, seconds):
                            connection.rest(seconds)
                        case Close(_, at_once):
                            connection.close(at_once)
        finally:
            self._turning = False
        if remarks := self._exchange.tally.take_remarks():
            self._tell(remarks)
        self._arm()

    def _tell(self, remarks: list[Remark]) -> None:
        """Log a few at a time: of a fleet whose network broke each box comes back by taking its old connection over."""
        now = self._loop.time()
        if now >= self._told_until:
            if self._untold:
                logger.warning("and %d more remarks like these", self._untold)
            self._told_until, self._told, self._untold = now + _REMARKS_S, 0, 0
        for remark in remarks:
            if self._told < _REMARKS:
                logger.warning("%r: %s", remark.client, remark.what)
                self._told += 1
            else:
                self._untold += 1

    def _arm(self) -> None:
        at = self._exchange.next_at()
        if self._timer is not None:
            if at is not None and self._timer_at <= at:
                return  # too early does no harm
            self._timer.cancel()
        self._timer = None
        if at is not None:
            self._timer, self._timer_at = self._loop.call_at(at, self._advance), at

    def _advance(self) -> None:
        self._timer = None
        self._exchange.advance(self._loop.time())
        self._turn()

    async def _shut_down(self) -> None:
        """Say goodbye, and see every connection closed: within `linger_s` they are."""
        self._exchange.shut_down(self._loop.time())
        self._turn()
        await self._empty.wait()
        if self._timer is not None:
            self._timer.cancel()


class Connection(asyncio.Protocol):
    """One socket."""

    transport: asyncio.Transport

    def __init__(self, broker: Broker, exchange: Exchange, limits: Limits) -> None:
        self._broker = broker
        self._exchange = exchange
        self._decoder = Decoder(limits.packet_bytes)
        self._turn_packets = limits.receive_maximum + _TURN_PACKETS
        self._send_buffer_bytes = limits.socket_buffer_bytes
        self._linger_s = limits.linger_s
        self._loop = asyncio.get_running_loop()
        self._reading = True
        self._writing = True
        self._deaf = False  # nothing more is read after a violation
        self._rest: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer_bytes)
        host, port = (transport.get_extra_info("peername") or ("?", 0))[:2]
        session = transport.get_extra_info("ssl_object")
        certificate = (session.getpeercert(binary_form=True) or b"") if session is not None else b""
        self._link = self._broker._open(self, f"{host}:{port}", certificate)

    def data_received(self, data: bytes) -> None:
        self._exchange.tally.bytes_in += len(data)
        if not self._deaf:
            self._decoder.feed(data)
            self._work()

    def eof_received(self) -> bool:
        if not self._deaf:  # the client is gone, whether or not it would still read
            self._broker._lost(self._link)
        self.close(at_once=False)
        return False  # the transport closes itself, after what is to be written

    def connection_lost(self, error: Exception | None) -> None:
        self._deaf = True
        for timer in (self._rest, self._end):
            if timer is not None:
                timer.cancel()
        self._broker._gone(self._link)

    def pause_writing(self) -> None:
        self._writing = False
        self._read_or_not(ready=True)
        self._exchange.paused(self._link, self._loop.time())
        self._broker._turn()

    def resume_writing(self) -> None:
        self._writing = True
        self._exchange.resumed(self._link, self._loop.time())
        self._broker._turn()
        self._work()

    def rest(self, seconds: float) -> None:
        """Read nothing for so long, nor handle what was read."""
        if self._rest is None:
            self._rest = self._loop.call_later(seconds, self._rested)
            self._read_or_not(ready=False)

    def _rested(self) -> None:
        self._rest = None
        self._work()

    def close(self, at_once: bool) -> None:
        """Close the socket: what was written goes out first, and the peer closes its side, for as long as `linger_s`.

        Until then whatever still comes is read and let go: closing over unread bytes resets the connection, and the
        peer would never see the reason.
        """
        self._deaf = True
        if at_once:
            self.transport.abort()
        elif self._end is None:
            self._end = self._loop.call_later(self._linger_s, self.transport.abort)
            self._half_close()

    def _half_close(self) -> None:
        if self.transport.is_closing():
            return
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        try:
            self.transport.write_eof()
        except OSError:  # the peer has reset the connection already
            self.transport.abort()
            return
        self._read_or_not(ready=True)

    def _work(self) -> None:
        """Handle what was read, but only so much in one turn; while there is more, or nobody reads, don't read on."""
        if self._deaf or not self._writing or self._rest is not None:
            return
        packets: list[Packet] = []
        bad: BadPacket | None = None
        try:
            while len(packets) < self._turn_packets and (packet := self._decoder.next()) is not None:
                packets.append(packet)
        except BadPacket as error:
            bad, self._deaf = error, True
        now = self._loop.time()
        self._exchange.received(self._link, packets, now)
        if bad is not None:
            connecting = self._decoder.first is not None and self._decoder.first >> 4 == 1
            self._exchange.violated(self._link, bad, now, connecting=connecting)
        self._broker._turn()
        full = len(packets) >= self._turn_packets
        if full and not self._deaf:
            self._loop.call_soon(self._work)
        self._read_or_not(ready=not full)

    def _read_or_not(self, *, ready: bool) -> None:
        wanted = ready and (self._deaf or (self._writing and self._rest is None))
        if wanted == self._reading or self.transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()


@asynccontextmanager
async def serve(
    host: str,
    port: int,
    *,
    authorize: Authorize = allow_all,
    authenticate: Authenticate = welcome_all,
    bounded: Bounded = bound_all,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Broker]:
    """Listen on `host` and `port` (0: any free one) until the context ends, then tell every client and close.

    With `tls` a client's certificate is among its credentials.

    The hooks are called on the event loop, so they must not wait. Raises `OSError` if the address can't be had.
    """
    limits = limits or Limits()
    exchange = Exchange(
        limits, authorize=authorize, authenticate=authenticate, bounded=bounded, new_id=lambda: f"auto-{token_hex(8)}"
    )
    broker = Broker(exchange)
    try:
        async with reception(
            host,
            port,
            lambda: Connection(broker, exchange, limits),
            backlog=_BACKLOG,
            tls=tls,
            handshake_s=limits.connect_s,
        ) as broker.port:
            yield broker
    finally:
        await broker._shut_down()
