"""The lifetime around an MQTT client."""

import asyncio
from types import SimpleNamespace
from typing import Self, cast

import aiomqtt
import pytest
from headwater_agent.edges.connection import connection


class UnwillingClient:
    """Connects at once; its disconnecting hangs, or fails."""

    def __init__(self, failure: Exception | None) -> None:
        self._client = SimpleNamespace(disconnect=lambda: None)
        self._failure = failure

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._failure is not None:
            raise self._failure
        await asyncio.Event().wait()


@pytest.mark.parametrize("failure", [None, aiomqtt.MqttError("gone")], ids=["hangs", "fails"])
async def test_a_cancellation_is_not_lost_when_the_goodbye_goes_wrong(failure: Exception | None) -> None:
    """Whoever is cancelled while connected ends as cancelled: who tries again then would never stop."""
    inside = asyncio.Event()

    async def live() -> None:
        async with connection(cast("aiomqtt.Client", UnwillingClient(failure)), patience_s=1.0):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(live(), name="test.live")
    await inside.wait()
    task.cancel()
    await asyncio.wait([task], timeout=10.0)
    assert task.cancelled(), task
