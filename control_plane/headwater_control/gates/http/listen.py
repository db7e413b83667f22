"""uvicorn, as a task among ours: it neither takes the signals nor owns the loop."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

_GRACE_S = 1  # for requests under way at the stop
_CONNECTIONS = 1000
_BACKLOG = 256


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Take the address, before anything else is started; raise `OSError` if it can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=_BACKLOG) as listening:
        yield listening


class _Server(uvicorn.Server):
    """Says when it has started."""

    def __init__(self, app: FastAPI, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
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
