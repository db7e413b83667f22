"""How the control plane keeps a connection to an MQTT broker: a fresh client for each attempt."""

import asyncio
import contextlib
import logging
import math
import random
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Never, Self, TypeVar

import aiomqtt
from headwater_wire import intake
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from headwater_control.ports import CantIssue

log = logging.getLogger(__name__)

_T = TypeVar("_T")

CLIENT_PREFIX = "control:"  # ':' is in no device's name, so no device can take such a client over
_UNACKNOWLEDGED = 1000  # receive maximum: what the broker may have in flight to us bounds our queues
# Else Nagle's algorithm holds a small packet behind an unacknowledged one, for 45 ms.
_AT_ONCE = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 5.0


class _Client(aiomqtt.Client):
    """Closes the socket of an attempt that failed, which aiomqtt leaves to the collector, and can be cancelled."""

    _given_up = False

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException:
            self._given_up = True
            self._client.disconnect()
            raise

    def _client_connect(self) -> None:
        """Connect, in a thread that no cancellation ends: it may find that nobody waits for it any more."""
        super()._client_connect()
        if self._given_up:
            self._loop.call_soon_threadsafe(self._client.disconnect)

    async def _wait_for(self, fut: Awaitable[_T], timeout: float | None) -> _T:  # noqa: ASYNC109 (aiomqtt's)
        """Wait as aiomqtt does, but by a means that loses no cancellation.

        `asyncio.wait_for`, before Python 3.12, drops one that comes along with what it waits for (cpython#86296): the
        task would then go on for ever, and whoever waits for its end with it.
        """
        limit_s = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(None if limit_s == math.inf else limit_s):
                return await fut
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None


@dataclass(frozen=True, slots=True)
class Link:
    """Where the broker is, and as whom to come: by a password, or by a certificate whose CN is the client id too."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    tls: Callable[[str], Awaitable[ssl.SSLContext]] | None = None  # for a client id

    @contextlib.asynccontextmanager
    async def connect(self, role: str) -> AsyncIterator[aiomqtt.Client]:
        """Open one connection; raise `aiomqtt.MqttError` if that doesn't work or when it breaks."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = _UNACKNOWLEDGED
        properties.MaximumPacketSize = intake.PACKET_BYTES
        # By certificate the name must be known to the broker's rules; a connection that is dead is taken over.
        name = f"{CLIENT_PREFIX}{role}" if self.tls else f"{CLIENT_PREFIX}{role}-{secrets.token_hex(6)}"
        client = _Client(
            self.host,
            self.port,
            username=self.username,
            password=self.password,
            identifier=name,
            tls_context=await self.tls(name) if self.tls else None,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,  # what we miss while away is healed by Sync: no session need outlive a connection
            keepalive=15,
            properties=properties,
            socket_options=_AT_ONCE,
        )
        intake.bound(client._client)
        client.pending_calls_threshold = _UNACKNOWLEDGED  # aiomqtt warns from 10 on; we bound them ourselves
        async with client:
            yield client

    async def keep(self, role: str, session: Callable[[aiomqtt.Client], Awaitable[None]]) -> Never:
        """Run `session` on a connection, and on a new one whenever it breaks, until cancelled."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started = loop.time()
            # In a task of its own: up to Python 3.12 a TaskGroup may leave the task around it marked as cancelled, and
            # lose a cancellation from outside that comes while a child of it fails.
            once = asyncio.create_task(self._once(role, session), name=f"{role}.session")
            try:
                await once
            except* (aiomqtt.MqttError, OSError, CantIssue) as broken:
                failures = 0 if loop.time() - started > _BACKOFF_MOST_S else failures + 1
                reason = broken.exceptions[0]
                log.warning("%s: no connection to the broker at %s:%d: %s", role, self.host, self.port, reason)
            if (task := asyncio.current_task()) and task.cancelling():
                raise asyncio.CancelledError
            ceiling = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** min(failures, 16))
            await asyncio.sleep(random.uniform(0, ceiling))  # noqa: S311 (full jitter, no secret)

    async def _once(self, role: str, session: Callable[[aiomqtt.Client], Awaitable[None]]) -> None:
        async with self.connect(role) as client:
            await session(client)


def come_meanwhile(client: aiomqtt.Client) -> Iterator[aiomqtt.Message]:
    """Give what waits already: aiomqtt takes several turns of the loop for each, and of QoS 0 more may come in them."""
    while not client._queue.empty():
        yield client._queue.get_nowait()


def acknowledge_by_hand(client: aiomqtt.Client) -> Callable[[aiomqtt.Message], None]:
    """Stop acknowledging on receipt; return what acknowledges a message once its work is committed."""
    below = client._client  # aiomqtt 2 has no way of its own; nothing else may reach below it
    below.manual_ack_set(True)

    def acknowledge(message: aiomqtt.Message) -> None:
        below.ack(message.mid, message.qos)  # over a broken connection it is lost, and redelivery is harmless

    return acknowledge
