"""Which gRPC connections are a device's, and their end: gRPC for Python tells of calls only, and can end no others."""

import asyncio
import math
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import unquote

from headwater_wire.ids import DeviceId

_OPEN_FILES = Path("/dev/fd")  # those of this process, on Linux and macOS
_TOLD_S = 0.5  # a call that ends now is told why, before its connection goes
_MOST = 4  # of one device; a box of ours has one, two while it renews its certificate
_RECEIVED = slice(128, 136)  # tcpi_bytes_received, in Linux's struct tcp_info
_SEARCHED = 1 << 17  # descriptors, one by one, where none is left to list them with
_OURS = ThreadPoolExecutor(1, "connections")  # whatever else waits for a thread: a disabled box must not

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Flow:
    """How many bytes have come over a connection, and how many of those in messages that a call of a device's had.

    None: no such call has come over it.
    """

    received: int
    taken: int | None
    meanwhile: int = 0  # of what was taken, that which was so while we looked: it may have come before or after


class Connections:
    """Knows the connections that a device's calls came over, as long as gRPC lets one last."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._port, self._age_s = 0, math.inf
        self._whose: dict[Address, tuple[DeviceId, float]] = {}  # in the order they came
        self._of: dict[DeviceId, dict[Address, None]] = {}
        self._taken: dict[Address, int] = {}
        self._doomed: set[Address] = set()
        self._ending: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Count those that are known."""
        return len(self._whose)

    def come_to(self, port: int, age_s: float) -> None:
        """Say where they come to, and what age they reach: from one address somebody else may come to another port."""
        self._port, self._age_s = port, age_s

    def seen(self, peer: str, device: DeviceId) -> None:
        """Take note of whose call came over a connection; `peer` is gRPC's word for the other end.

        A device has so many at the same time: of more the oldest ends.
        """
        address = parsed(peer)
        if address is None or self._whose.get(address, ("",))[0] == device:
            return
        self._forget(address)  # another's, who has left it
        while self._whose and next(iter(self._whose.values()))[1] < self._now() - self._age_s:
            self._forget(next(iter(self._whose)))
        mine = self._of.setdefault(device, {})
        mine[address] = None
        self._whose[address] = device, self._now()
        self._taken[address] = 0
        if len(mine) > _MOST:
            oldest = next(iter(mine))
            self._forget(oldest)
            self._doom(oldest)

    def end(self, device: DeviceId) -> None:
        """End a device's connections, in half a second."""
        mine = tuple(self._of.get(device, ()))
        for address in mine:
            self._forget(address)
        self._doom(*mine)

    def refuse(self, peer: str) -> None:
        """End one, as soon; the device's others may be those of the box that has its place now."""
        if address := parsed(peer):
            self._doom(address)

    def took(self, peer: str, size: int) -> None:
        """Take note that so many bytes of messages came over a connection whole, if it is known."""
        if (address := parsed(peer)) in self._taken:
            self._taken[address] += size

    async def flows(self) -> dict[Address, Flow]:
        """Tell of each that there is, known or not, what has come over it."""
        before = dict(self._taken)
        found = await asyncio.get_running_loop().run_in_executor(_OURS, inflows, self._port)
        flows = {}
        for address in found.keys() - self._doomed:  # those are about to be told why they end
            taken = self._taken.get(address)
            meanwhile = 0 if taken is None else max(0, taken - before.get(address, 0))
            flows[address] = Flow(found[address], taken, meanwhile)
        return flows

    async def drop(self, addresses: Collection[Address]) -> None:
        """End some of those, at once."""
        await asyncio.get_running_loop().run_in_executor(_OURS, shut, addresses, self._port)

    def _doom(self, *addresses: Address) -> None:
        self._doomed.update(addresses)
        if self._doomed and self._ending is None:
            self._ending = asyncio.create_task(self._end_soon(), name="connections.end")

    async def _end_soon(self) -> None:
        try:
            while self._doomed:
                await asyncio.sleep(_TOLD_S)
                doomed, self._doomed = self._doomed, set()
                await asyncio.get_running_loop().run_in_executor(_OURS, shut, doomed, self._port)
        finally:
            self._ending = None  # whatever ended this one, the next gets a turn

    def _forget(self, address: Address) -> None:
        if (known := self._whose.pop(address, None)) is None:
            return
        del self._taken[address]
        mine = self._of[known[0]]
        del mine[address]
        if not mine:
            del self._of[known[0]]


def parsed(peer: str) -> Address | None:
    """Read gRPC's "ipv4:192.0.2.1:34567" or "ipv6:%5B2001:db8::1%5D:34567"; None if it is no address of IP."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    try:
        return _plain(host.strip("[]")), int(port)
    except ValueError:
        return None


def shut(peers: Collection[Address], port: int) -> None:
    """End this process's TCP connections from these addresses to its `port`, as if the other side had.

    The descriptors are gRPC's own, used where they lie. A duplicate could, in a race, be of a file: closing any
    descriptor of a file gives up the locks that SQLite has on it (POSIX, fcntl). The worst of a race here is that
    another connection ends, which its box makes anew.
    """
    for connection, address in _to(port):
        if address in peers:
            with suppress(OSError):  # closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)


def inflows(port: int) -> dict[Address, int]:
    """Tell how many bytes have come over each of this process's TCP connections to its `port`; 0 but on Linux."""
    return {address: _received(connection) for connection, address in _to(port)}


def _received(connection: socket.socket) -> int:
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.stop)
    except (OSError, AttributeError):  # closed meanwhile; no Linux
        return 0
    return int.from_bytes(told[_RECEIVED], sys.byteorder)


def _to(port: int) -> Iterator[tuple[socket.socket, Address]]:
    """Lend the connections to a port, one by one."""
    for descriptor in _descriptors():
        try:  # of IPv6, or of IPv4, whose addresses are shorter
            borrowed = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=descriptor)
        except OSError:  # no socket
            continue
        try:
            match borrowed.getsockname(), borrowed.getpeername():
                case (_, int(ours), *_), (str(host), int(theirs), *_) if ours == port:
                    yield borrowed, (_plain(host), theirs)
        except OSError:  # not connected, or closed meanwhile
            pass
        finally:
            borrowed.detach()


def _descriptors() -> Iterable[int]:
    try:
        return [int(name) for name in os.listdir(_OPEN_FILES)]  # noqa: PTH208 (a path for each takes longer than the look)
    except OSError:  # none is left to look at the others with: who opens many must not stay for that
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return range(_SEARCHED if limit == resource.RLIM_INFINITY else min(limit, _SEARCHED))


@lru_cache(1 << 14)  # a look reads those of a whole fleet
def _plain(host: str) -> str:
    """Spell an address in one way, an IPv4 one in its own even where the socket is of IPv6."""
    address = ip_address(host.partition("%")[0])
    return str((isinstance(address, IPv6Address) and address.ipv4_mapped) or address)
