"""An aiomqtt client as a lifetime: made once, ended in time, never deaf to a cancellation."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import aiomqtt
from headwater_wire import intake

GOODBYE_S = 1.0
_CONNECT_S = 5.0  # of TCP alone, in a thread that nothing ends before
_SESSION_TAKEN_OVER = 0x8E


class PatientClient(aiomqtt.Client):
    """A client whose TLS handshake may take its time, and ends when its attempt does; it takes no oversize packet.

    paho does it in a thread and gives it five seconds, which nothing shortens or lengthens from outside: too few for a
    broker to which a whole fleet comes back, and five too many for an agent that is to stop.
    """

    def __init__(self, host: str, port: int, *, handshake_s: float, **settings: Any) -> None:
        super().__init__(host, port, **settings)
        below: Any = self._client
        intake.bound(below)
        connect = below._create_socket_connection
        self._opened: list[socket.socket] = []

        def create() -> socket.socket:
            below._connect_timeout = _CONNECT_S
            made: socket.socket = connect()
            self._opened.append(made.dup())  # to be shut while the thread waits on the other one
            below._connect_timeout = handshake_s
            return made

        below._create_socket_connection = create

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException:
            for sock in self._opened:
                with suppress(OSError):  # it is broken already
                    sock.shutdown(socket.SHUT_RDWR)
            raise
        finally:
            for sock in self._opened:
                sock.close()


@asynccontextmanager
async def connection(client: aiomqtt.Client, *, patience_s: float) -> AsyncIterator[aiomqtt.Client]:
    """Connect within `patience_s`, disconnect within a second; raise `MqttError`, `OSError` or `TimeoutError`.

    The client must have been made with an infinite timeout: aiomqtt waits by `asyncio.wait_for`, which before Python
    3.12 swallows a cancellation that comes together with the result; with no timeout it is a plain await.
    """
    try:
        async with asyncio.timeout(patience_s):
            await client.__aenter__()
    except BaseException:
        client._client.disconnect()  # aiomqtt leaves the socket of a failed attempt open
        raise
    try:
        yield client
    finally:
        with suppress(aiomqtt.MqttError, TimeoutError):  # else it would take the place of why we leave: a cancellation
            async with asyncio.timeout(GOODBYE_S):
                await client.__aexit__(None, None, None)


def acknowledge_by_hand(client: aiomqtt.Client) -> Callable[[aiomqtt.Message], None]:
    """Stop acknowledging on receipt; return what acknowledges a message once it is taken."""
    below = client._client  # aiomqtt 2 has no way of its own
    below.manual_ack_set(True)

    def acknowledge(message: aiomqtt.Message) -> None:
        below.ack(message.mid, message.qos)  # lost over a broken connection: Sync heals

    return acknowledge


def taken_over(client: aiomqtt.Client) -> bool:
    """Say whether the broker ended it because another came by the same name; aiomqtt's error has no reason."""
    ended = client._disconnected
    error = ended.exception() if ended.done() and not ended.cancelled() else None
    return isinstance(error, aiomqtt.MqttCodeError) and getattr(error.rc, "value", error.rc) == _SESSION_TAKEN_OVER
