"""The other half of the sample that the suite plays, in a file of its own so that another worker may have it."""

import pytest

from tests.simulation.test_histories import played

pytestmark = pytest.mark.long


@pytest.mark.parametrize("first", range(100, 200, 10))
def test_every_promise_is_kept(first: int) -> None:
    """Nothing acknowledged is lost, nothing is merged twice, and every run ends or says why."""
    assert not played(first)
