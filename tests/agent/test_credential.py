"""The invitation that systemd hands over at the first start."""

from pathlib import Path

import pytest
from headwater_agent.config import load
from headwater_agent.credential import invitation


@pytest.mark.parametrize(
    ("text", "expected"), [("hw1.abc\n", "hw1.abc"), ("none", ""), ("", ""), ("enrol it with hw1.abc", "hw1.abc")]
)
def test_a_box_without_an_identity_takes_the_invitation_it_is_handed(tmp_path: Path, text: str, expected: str) -> None:
    """What is no invitation, as the unit gives where there is none, is nothing."""
    (tmp_path / "agent.toml").write_text('[agent]\nid = "box"\nstate_dir = "state"\n')
    (tmp_path / "headwater.invitation").write_text(text)
    config = load(tmp_path / "agent.toml", {})
    assert invitation(config, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == expected
    assert invitation(config, {}) == ""
    assert invitation(config, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}) == ""
