"""The control plane's MQTT client."""

import asyncio

import pytest
from headwater_control.link import _Client


async def test_a_cancellation_that_comes_along_with_an_acknowledgement_is_heard() -> None:
    """Else a stop, or a bouncer's end, would wait for ever for a task that goes on."""
    client = _Client("127.0.0.1")
    acknowledged = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(client._wait_for(acknowledged, None))
    await asyncio.sleep(0)
    acknowledged.set_result(None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
