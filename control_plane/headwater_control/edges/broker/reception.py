"""How connections come in: one in each turn of the event loop, so that a crowd at the door stops no work inside.

asyncio's and uvloop's own servers take in all that wait at once; the handshakes of a thousand of them, some
milliseconds each, would then come before whatever else the loop has to do, again and again.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

log = logging.getLogger(__name__)
_NO_ROOM_S = 0.2  # without a file or memory for one more, until the next is tried
_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # IPv6 that the kernel lacks, or that is switched off


@asynccontextmanager
async def reception(
    host: str,
    port: int,
    factory: Callable[[], asyncio.Protocol],
    *,
    backlog: int,
    tls: ssl.SSLContext | None,
    handshake_s: float,
) -> AsyncIterator[int]:
    """Listen until the context ends; give the port (0: any free one). Raises `OSError` if the address can't be had."""
    async with AsyncExitStack() as parts:
        listening = await _listening(host, port, backlog, parts)
        door = _Door(factory, tls, handshake_s)
        parts.push_async_callback(door.close)
        for each in listening:
            door.open(each)
        bound: int = listening[0].getsockname()[1]
        yield bound


class _Door:
    """Takes connections in, and sees each through its handshake."""

    def __init__(self, factory: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None, handshake_s: float) -> None:
        self._factory = factory
        self._tls = tls
        self._handshake_s = handshake_s if tls else None
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, listening: socket.socket) -> None:
        self._start(self._accept(listening), "broker.accept")

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, _ = await self._loop.sock_accept(listening)
            except OSError as error:  # EMFILE, ENOMEM, or who came is gone already
                log.warning("no connection can be taken in (%s): trying again", error.strerror or error)
                await asyncio.sleep(_NO_ROOM_S)
                continue
            self._start(self._welcome(sock), "broker.welcome")
            await asyncio.sleep(0)  # the turn of whatever else there is

    async def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                self._factory, sock, ssl=self._tls, ssl_handshake_timeout=self._handshake_s
            )
        except (OSError, TimeoutError) as error:  # a failed handshake is an OSError too: no client of ours
            log.debug("a connection came to nothing: %s", error)
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _listening(host: str, port: int, backlog: int, parts: AsyncExitStack) -> list[socket.socket]:
    """Bind every address of `host` that this machine has, with the same port; raise `OSError` if it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    lacking: list[OSError] = []
    for family, kind, protocol, _, place in dict.fromkeys(found):
        at = made[0].getsockname()[1] if made and not port else place[1]
        try:
            each = _bound(socket.socket(family, kind, protocol), (place[0], at, *place[2:]), parts)
        except OSError as error:  # "localhost" is often ::1 too where there is no IPv6
            if error.errno not in _NO_FAMILY:
                raise
            log.info("%s has the address %s, which this machine can't listen on: %s", host, place[0], error.strerror)
            lacking.append(error)
            continue
        each.listen(backlog)
        each.setblocking(False)
        made.append(each)
    if not made and lacking:
        raise lacking[0]
    return made


def _bound(made: socket.socket, place: tuple[Any, ...], parts: AsyncExitStack) -> socket.socket:
    """Give a socket its address, and leave to `parts` to close it; raise `OSError`."""
    parts.callback(made.close)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if made.family == socket.AF_INET6:
        with suppress(OSError):
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(place)
    return made
