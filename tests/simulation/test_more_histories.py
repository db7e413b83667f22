"""The rest of the sample of two hundred: `make long` plays it."""

import pytest

from tests.simulation.test_histories import played

pytestmark = pytest.mark.long


@pytest.mark.parametrize("first", range(20, 200, 10))
def test_every_promise_is_kept(first: int) -> None:
    """Nothing acknowledged is lost, nothing is merged twice, and every run ends or says why."""
    assert not played(first)
