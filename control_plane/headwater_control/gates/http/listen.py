"""uvicorn, as a task among ours: it neither takes the signals nor owns the loop."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from ipaddress import ip_address

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from headwater_control.core.attempts import source_of
from headwater_control.gates.http import problems
from headwater_control.gates.http.secure import Secure

log = logging.getLogger(__name__)

_GRACE_S = 1  # for requests under way at the stop
_HEAD_S = 10.0  # from the first byte, or the connection, to the end of a request's headers
_REST_S = 10.0  # from an answer to the end of the body that it did not wait for
_CONNECTIONS = 1000
_OF_ONE = 100  # of those, of one source
_BACKLOG = 256


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Take the address, before anything else is started; raise `OSError` if it can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=_BACKLOG) as listening:
        yield listening


class Connection(H11Protocol):
    """Ends a client that is slow to say what it wants: uvicorn waits for ever, and counts it as a connection.

    Nor does it wait long for the rest of a body that has had its answer, since no deadline of the application's holds
    any more. It does wait a moment: to hang up on who still sends would destroy the answer on its way (RFC 9112, 9.6).
    """

    source = ""  # whose it is
    _impatience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._be_impatient(_HEAD_S)
        self.source = _limited(self.client[0]) if self.client else ""
        if self.source and sum(one.source == self.source for one in self._all()) > _OF_ONE:
            log.info("%s has %d connections: a further one ends", self.source, _OF_ONE)
            transport.abort()

    def handle_events(self) -> None:
        self.app = _FULL if len(self.connections) >= _CONNECTIONS else self.config.loaded_app
        super().handle_events()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._owes_a_body():
            self._be_impatient(_REST_S)
        elif self.conn.their_state is h11.IDLE:
            self._be_impatient(_HEAD_S)
        else:
            self._be_patient()

    def on_response_complete(self) -> None:
        self._be_patient()
        super().on_response_complete()  # may find the next request, half or whole, in what was read already
        if self._owes_a_body():
            self._be_impatient(_REST_S)
        elif self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._be_impatient(_HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        super().connection_lost(exc)

    def _all(self) -> Iterator["Connection"]:
        return (one for one in self.connections if isinstance(one, Connection))

    def _owes_a_body(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete

    def _be_impatient(self, for_s: float) -> None:
        if self._impatience is None:  # else it has begun: further bytes put nothing off
            self._impatience = self.loop.call_later(for_s, self.transport.abort)

    def _be_patient(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None


def _limited(host: str) -> str:
    """Say whose connections are counted together; "": of this machine's own none are, as a proxy speaks for many."""
    return "" if ip_address(host.partition("%")[0]).is_loopback else source_of(host)


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    log.warning("%d connections are open: a request was refused", _CONNECTIONS)
    told = problems.answer(
        scope["path"], HTTPStatus.SERVICE_UNAVAILABLE, "the control plane has too many connections: try again later"
    )
    told.headers["connection"] = "close"
    await told(scope, receive, send)


_FULL = Secure(_full)


class _Server(uvicorn.Server):
    """Says when it has started."""

    def __init__(self, app: FastAPI, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ssl_context_factory=(lambda _config, _default: tls) if tls else None,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE_S,
                ws="none",
            )
        )
        self.servers = []
        self.up = asyncio.Event()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; uvicorn closes what listens only if it is asked to end, and not if it is cancelled."""
        try:
            await super().serve(sockets)
        finally:
            for listening in self.servers:
                listening.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the composition root."""
        yield


@asynccontextmanager
async def served(app: FastAPI, listening: socket.socket, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """Serve while the context lasts, by `tls` if given; leaving it lets requests under way finish for a moment."""
    server = _Server(app, tls)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[listening]), name="http")
        await _either(server.up, serving)
        try:
            yield
        finally:
            server.should_exit = True


async def _either(up: asyncio.Event, serving: asyncio.Task[None]) -> None:
    waiting = asyncio.create_task(up.wait(), name="http.up")
    try:
        await asyncio.wait({waiting, serving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
