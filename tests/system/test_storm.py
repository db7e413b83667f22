"""A fleet that comes back at once after a restart of the control plane: a small one; `make storm` has 2,000."""

from pathlib import Path

import pytest

from tests.support.storm import storm

pytestmark = pytest.mark.long

AGENTS = 30


def test_a_fleet_that_comes_back_at_once_is_admitted_and_nobody_sees_an_error(tmp_path: Path) -> None:
    """Each is connected, registered and has synced within a minute; neither its log nor the agents' tell of trouble."""
    found = storm(tmp_path, AGENTS, processes=1, within_s=60.0)
    assert found.errors == ()
    assert found.said == {}
    assert len(found.admitted_s) == AGENTS
    assert found.all_s < 60.0, found
