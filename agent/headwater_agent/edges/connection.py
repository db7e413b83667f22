"""An aiomqtt client as a lifetime: made once, ended in time, never deaf to a cancellation."""

import asyncio
from collections.abc import AsyncIterator
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


def taken_over(client: aiomqtt.Client) -> bool:
    """Say whether the broker ended it because another came by the same name; aiomqtt's error has no reason."""
    ended = client._disconnected
    error = ended.exception() if ended.done() and not ended.cancelled() else None
    return isinstance(error, aiomqtt.MqttCodeError) and getattr(error.rc, "value", error.rc) == _SESSION_TAKEN_OVER
