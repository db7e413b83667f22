"""The broker's sockets are tested on both event loops: asyncio's own, and the control plane's."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every coroutine test of this folder twice."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
