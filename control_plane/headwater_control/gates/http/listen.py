"""uvicorn, as a task among ours: it neither takes the signals nor owns the loop."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

_GRACE_S = 1  # for requests under way at the stop
_HEAD_S = 10.0  # from the first byte, or the connection, to the end of a request's headers
_CONNECTIONS = 1000
_BACKLOG = 256


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Take the address, before anything else is started; raise `OSError` if it can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=_BACKLOG) as listening:
        yield listening


class Connection(H11Protocol):
    """Ends a client that is slow to say what it wants: uvicorn waits for ever, and counts it as a connection."""

    head_s = _HEAD_S
    _impatience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._wait_for_a_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_a_head()
        else:
            self._be_patient()

    def on_response_complete(self) -> None:
        self._be_patient()
        super().on_response_complete()  # may find the next request, half or whole, in what was read already
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait_for_a_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        super().connection_lost(exc)

    def _wait_for_a_head(self) -> None:
        if self._impatience is None:
            self._impatience = self.loop.call_later(self.head_s, self.transport.abort)

    def _be_patient(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None


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
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=_GRACE_S,
                ws="none",
            )
        )
        self.up = asyncio.Event()

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
