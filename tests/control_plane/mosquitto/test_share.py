"""The secret name of the control plane's shared subscription."""

import re
from datetime import UTC, datetime
from pathlib import Path

from headwater_control.edges.ca import embedded
from headwater_wire.topics import CONTROL_FILTER, control_filter

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def test_all_that_have_the_authority_s_key_know_the_same_secret(tmp_path: Path) -> None:
    """Replicas must share; it lasts across restarts, is another for each purpose, and has 128 bits."""
    first, again = embedded(tmp_path / "ca", NOW), embedded(tmp_path / "ca", NOW)
    assert first.secret("share") == again.secret("share") != first.secret("other")
    assert re.fullmatch("[0-9a-f]{32}", first.secret("share"))


def test_another_authority_has_another_secret(tmp_path: Path) -> None:
    """Whoever knows one knows nothing of the other."""
    assert embedded(tmp_path / "a", NOW).secret("share") != embedded(tmp_path / "b", NOW).secret("share")


def test_the_filter_differs_by_its_group_only() -> None:
    """What is heard is the same (MQTT 5.0, 4.8.2)."""
    share, group, *topic = control_filter("0123").split("/")
    assert (share, group) == ("$share", "control-0123")
    assert topic == CONTROL_FILTER.split("/")[2:]
