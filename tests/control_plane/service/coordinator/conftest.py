"""A coordinator's world: in memory, and in virtual time."""

from pathlib import Path

import pytest
from headwater_control.service.world import World

from tests.fakes.clock import FakeClock
from tests.fakes.publisher import FakePublisher
from tests.fakes.world import fake_world, import_digits


@pytest.fixture
def clock() -> FakeClock:
    """Let time stand still."""
    return FakeClock()


@pytest.fixture
def publisher() -> FakePublisher:
    """Remember what was sent."""
    return FakePublisher()


@pytest.fixture
async def world(clock: FakeClock, publisher: FakePublisher, tmp_path: Path) -> World:
    """Put a control plane in memory together: real threads don't know virtual time."""
    made = fake_world(tmp_path, clock=clock, publisher=publisher)
    await import_digits(made, tmp_path)
    return made
