"""What several test files of the agent stand on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.agent_bench import Bench
from tests.fakes.agent_surroundings import World, surroundings


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Start what is around an agent that runs as a process."""
    async with surroundings(tmp_path) as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Effects among fakes, whose pauses are over at once."""
    return Bench(tmp_path)
