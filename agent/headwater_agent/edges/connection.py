"""An aiomqtt client as a lifetime: made once, ended in time, never deaf to a cancellation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiomqtt

GOODBYE_S = 1.0
_SESSION_TAKEN_OVER = 0x8E


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
