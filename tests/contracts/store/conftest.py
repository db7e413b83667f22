"""What the store's contract runs on: the fake, SQLite and PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headwater_control.ports import Store

from tests.support.stores import EVERY, Opener


@pytest.fixture(params=EVERY, ids=lambda opener: opener.__name__)
def opener(request: pytest.FixtureRequest) -> Opener:
    """Each of the three."""
    chosen: Opener = request.param
    return chosen


@pytest.fixture
async def store(opener: Opener, tmp_path: Path) -> AsyncIterator[Store]:
    """Each of the three, open and empty."""
    async with opener(tmp_path) as opened:
        yield opened
