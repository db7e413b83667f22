"""`headwater-agent status | spool | pause | resume` where no agent runs: what lies on the disk counts."""

import json
from pathlib import Path

import pytest
from headwater_agent.__main__ import main
from headwater_agent.edges.maintenance import MaintenanceFile
from headwater_agent.inquiry import span_s
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Configure a box; give its agent.toml."""
    file = tmp_path / "agent.toml"
    (tmp_path / "state").mkdir()
    file.write_text('[agent]\nid = "box-1"\nstate_dir = "state"\n[control_plane]\ninsecure = true\n')
    return file


def said(capsys: pytest.CaptureFixture[str], box: Path, *words: str) -> tuple[int, str]:
    """Run a command; give its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--config", str(box)])
    told = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, told.out + told.err


def test_a_pause_waits_on_the_disk_for_the_next_start(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its time and reason; `status` tells of it, `resume` ends it, and says what it was."""
    code, told = said(capsys, box, "pause", "--for", "2h", "--reason", "new \x1b fan\n")
    assert code == 0 and told.startswith("paused on the box until ") and "(new fan)" in told
    lock = MaintenanceFile(box.parent / "state").read()
    assert lock is not None and lock.until_ms == lock.since_ms + 7_200_000
    code, told = said(capsys, box, "status")
    assert code == 1 and "no agent runs here" in told and "(new fan)" in told
    assert said(capsys, box, "resume")[1].startswith("resumed; it was paused on the box until ")
    assert said(capsys, box, "resume") == (0, "it was not paused\n")


def test_a_pause_without_a_time_holds_until_it_is_resumed(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs as JSON."""
    code, told = said(capsys, box, "pause", "--json")
    assert code == 0 and json.loads(told) == {"paused": "paused on the box until `headwater-agent resume`"}
    assert json.loads(said(capsys, box, "status", "--json")[1])["running"] is False


def test_before_the_first_start_there_is_nothing_to_pause(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that root made would not be the agent's."""
    (box.parent / "state").rmdir()
    code, told = said(capsys, box, "pause")
    assert code == 1 and "is not there yet" in told
    assert not (box.parent / "state").exists()


def test_what_lies_in_the_spool_is_named(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its task, with its size."""
    assert said(capsys, box, "spool") == (0, "nothing waits to be uploaded\n")
    (box.parent / "state" / "spool").mkdir()
    (box.parent / "state" / "spool" / "t1.delta").write_bytes(bytes(2_000_000))
    assert said(capsys, box, "spool") == (0, "t1: 2.000 MB\n")
    assert json.loads(said(capsys, box, "spool", "--json")[1]) == {"spool": [{"task": "t1", "size_bytes": 2_000_000}]}
    assert "1 wait to be uploaded" in said(capsys, box, "status")[1]


@pytest.mark.parametrize("span", ["", "2", "h", "-2h", "0s", "2 h", "2w", "1e9d", "367d", "nan"])
def test_a_time_that_is_none_is_refused(box: Path, capsys: pytest.CaptureFixture[str], span: str) -> None:
    """With what one looks like; nothing is paused."""
    code, told = said(capsys, box, "pause", f"--for={span}")
    assert code == 1 and "is no time such as 30s, 90m, 2h or 1.5d" in told
    assert MaintenanceFile(box.parent / "state").read() is None


@given(st.integers(1, 366), st.sampled_from("smhd"))
def test_a_time_is_read(number: int, unit: str) -> None:
    """In seconds, minutes, hours and days."""
    assert span_s(f"{number}{unit}") == number * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]
