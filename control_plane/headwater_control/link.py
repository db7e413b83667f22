"""How the control plane keeps a connection to an MQTT broker: a fresh client for each attempt."""

import asyncio
import contextlib
import logging
import random
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Never, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

log = logging.getLogger(__name__)

CLIENT_PREFIX = "control:"  # ':' is in no device's name, so no device can take such a client over
_UNACKNOWLEDGED = 1000  # receive maximum: what the broker may have in flight to us bounds our queues
# Else Nagle's algorithm holds a small packet behind an unacknowledged one, for 45 ms.
_AT_ONCE = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 5.0


class _Client(aiomqtt.Client):
    """Closes the socket of an attempt that failed, which aiomqtt leaves to the garbage collector."""

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException:
            self._client.disconnect()
            raise


@dataclass(frozen=True, slots=True)
class Link:
    """Where the broker is, and as whom to come: by a password, or by a certificate whose CN is the client id too."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    tls: Callable[[str], ssl.SSLContext] | None = None  # for a client id

    @contextlib.asynccontextmanager
    async def connect(self, role: str) -> AsyncIterator[aiomqtt.Client]:
        """Open one connection; raise `aiomqtt.MqttError` if that doesn't work or when it breaks."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = _UNACKNOWLEDGED
        # By certificate the name must be known to the broker's rules; a connection that is dead is taken over.
        name = f"{CLIENT_PREFIX}{role}" if self.tls else f"{CLIENT_PREFIX}{role}-{secrets.token_hex(6)}"
        client = _Client(
            self.host,
            self.port,
            username=self.username,
            password=self.password,
            identifier=name,
            tls_context=self.tls(name) if self.tls else None,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,  # what we miss while away is healed by Sync: no session need outlive a connection
            keepalive=15,
            properties=properties,
            socket_options=_AT_ONCE,
        )
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
            except* (aiomqtt.MqttError, OSError) as broken:
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


def acknowledge_by_hand(client: aiomqtt.Client) -> Callable[[aiomqtt.Message], None]:
    """Stop acknowledging on receipt; return what acknowledges a message once its work is committed."""
    below = client._client  # aiomqtt 2 has no way of its own; nothing else may reach below it
    below.manual_ack_set(True)

    def acknowledge(message: aiomqtt.Message) -> None:
        below.ack(message.mid, message.qos)  # over a broken connection it is lost, and redelivery is harmless

    return acknowledge
