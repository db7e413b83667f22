"""What systemd hands to the control plane."""

from pathlib import Path

from headwater_control.config import load


def test_the_databases_password_may_come_as_a_credential(tmp_path: Path) -> None:
    """It beats file and environment, and a flag beats it; "none", which the unit gives, is none."""
    place, environment = tmp_path / "headwater.database", {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(None, environment, {}).database == ""
    place.write_text("none\n")
    assert load(None, environment, {}).database == ""
    place.write_text("postgresql://headwater:secret@127.0.0.1/headwater\n")
    known = {**environment, "HEADWATER_DATABASE": "sqlite:///other"}
    assert load(None, known, {}).database == "postgresql://headwater:secret@127.0.0.1/headwater"
    assert load(None, known, {"database": "sqlite:///third"}).database == "sqlite:///third"
