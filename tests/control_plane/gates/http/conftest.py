"""The HTTP API without sockets."""

from collections.abc import AsyncIterator
from functools import cache

import httpx
import pytest
from fastapi import FastAPI
from headwater_control.gates.http.app import create
from headwater_control.service.world import World

LIMIT_BYTES = 100_000


@cache
def app() -> FastAPI:
    """Make the app once, since that takes a tenth of a second; each test brings its own world."""
    return create(None, file_limit_bytes=LIMIT_BYTES)  # type: ignore[arg-type]


@pytest.fixture
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Call the app."""
    app().state.world = world
    transport = httpx.ASGITransport(app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        yield client
