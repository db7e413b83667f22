"""Every service test runs twice: on the store in memory, and on a real SQLite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headwater_control.ports import Store
from headwater_control.service.world import World

from tests.fakes.world import fake_world, import_digits
from tests.support import stores


@pytest.fixture(params=[stores.memory, stores.sqlite], ids=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Open an empty store."""
    opener: stores.Opener = request.param
    async with opener(tmp_path) as opened:
        yield opened


@pytest.fixture
async def world(store: Store, tmp_path: Path) -> World:
    """Put a control plane together that knows the model `digits`."""
    made = fake_world(tmp_path, store=store)
    await import_digits(made, tmp_path)
    return made
