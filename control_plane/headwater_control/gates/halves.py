"""What has come over gRPC connections and is no whole message: it lies in our memory, and has a bound.

Of a unary call nobody hears before its message is whole, nor of how many there are: a client that does not confirm our
settings is held to no number of streams (RFC 9113, 6.5.3). What has come over a connection the kernel knows, and what
came whole we do: the rest is halves of messages.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Never

from headwater_control.gates.connections import Address, Connections, Flow

log = logging.getLogger(__name__)

_EVERY_S = 0.5
_AT_LEAST_EVERY_S = 5.0
_IDLE = 50  # times as long as a look took (8 ms for a thousand sockets): of ten thousand it costs a fiftieth
_FRAMING = 1.002  # of HTTP/2 and TLS, measured in an upload; a fetch's news of room are a ten-thousandth of its bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of connections over which no device's call has come: what they may owe in all, and how long they may last.

    A first call is some kilobytes, handshake included: such are ten thousand boxes' that come at once. In a rush a
    handshake, and then the call's turn, may take the better part of a minute. Of a device's connection: what it may
    owe. Two uploads under way are 3 MB.
    """

    strangers_bytes: int = 64 * 1024 * 1024
    strangers_s: float = 300.0
    known_bytes: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Account:
    """A connection that we have known of since a time: what it has sent, and owes the end of."""

    since_s: float
    flow: Flow
    owed: int


def carried(before: Account | None, flow: Flow, now_s: float) -> Account:
    """Bring an account up to date, or open one. Nobody saves up what came whole for later halves."""
    if before is None or flow.received < before.flow.received:  # another connection from the same address
        before = Account(now_s, Flow(0, None), 0)
    taken = max(0, (flow.taken or 0) - (before.flow.taken or 0))
    owed = before.owed + flow.received - before.flow.received - int(_FRAMING * taken)
    return Account(before.since_s, flow, max(-flow.meanwhile, owed))


def excess(accounts: Mapping[Address, Account], now_s: float, bounds: Bounds) -> frozenset[Address]:
    """Choose whom to end: of strangers the late ones, and those that owe most, until the others keep the bound."""
    ends = {
        address
        for address, one in accounts.items()
        if (now_s - one.since_s > bounds.strangers_s if one.flow.taken is None else one.owed > bounds.known_bytes)
    }
    strangers = {address: one.owed for address, one in accounts.items() if one.flow.taken is None}
    total = sum(strangers.values())
    for address in sorted(strangers, key=lambda one: strangers[one], reverse=True):
        if total <= bounds.strangers_bytes:
            break
        total -= strangers[address]
        ends.add(address)
    return frozenset(ends)


class Watch:
    """Ends what is beyond the bounds."""

    def __init__(
        self, connections: Connections, bounds: Bounds | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._connections = connections
        self._bounds = bounds or Bounds()
        self._now = now
        self._accounts: dict[Address, Account] = {}

    async def run(self) -> Never:
        """Look again and again, until cancelled."""
        while True:
            began_s = self._now()
            try:
                await self.look()
            except Exception:  # whatever it was, the bound must not end with it
                log.exception("what has come over the connections can't be told")
            await asyncio.sleep(min(max(_EVERY_S, _IDLE * (self._now() - began_s)), _AT_LEAST_EVERY_S))

    async def look(self) -> None:
        """Look once."""
        flows, now_s = await self._connections.flows(), self._now()
        self._accounts = {address: carried(self._accounts.get(address), flow, now_s) for address, flow in flows.items()}
        if ends := excess(self._accounts, now_s, self._bounds):
            log.info("%d connections end: over each came halves of messages, or no call for too long", len(ends))
            await self._connections.drop(ends)
