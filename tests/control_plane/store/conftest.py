"""The two real databases, empty: without a table."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.postgres import fresh_database


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Name each of them."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'headwater.db'}"
        return
    async with fresh_database() as database:
        yield database
