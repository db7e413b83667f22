"""`headwater-agent status | spool | pause | resume` where no agent runs: what lies on the disk counts."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from headwater_agent.__main__ import main
from headwater_agent.edges.console import LINE_BYTES, ask
from headwater_agent.edges.maintenance import MaintenanceFile
from headwater_agent.inquiry import span_s
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.agent_home import mute


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
    assert lock is not None and lock.until_ms == lock.since.ms + 7_200_000
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


@pytest.mark.parametrize("words", [("pause", "--for", "2h"), ("resume",)])
def test_what_an_agent_that_hangs_was_asked_for_may_still_happen(
    box: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """It has the request; whoever was told of a failure only would be surprised later."""
    monkeypatch.setattr("headwater_agent.inquiry.ask", partial(ask, patience_s=0.05))
    with mute(box.parent / "state"):
        code, told = said(capsys, box, *words)
    assert code == 1 and f"the {words[0]} may still take effect once it goes on" in told


def test_a_long_reason_is_cut_before_it_is_sent(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has an end: an agent hangs up on a line that is longer."""
    sent: list[dict[str, object]] = []

    def agree(state: Path, request: dict[str, object]) -> dict[str, str]:
        sent.append(request)
        return {"paused": "yes"}

    monkeypatch.setattr("headwater_agent.inquiry.ask", agree)
    with pytest.raises(SystemExit, match="0"):
        main(["pause", "--reason", " new\n" + "\N{BUG}" * 9000, "--config", str(box)])
    assert sent[0]["reason"] == "new " + "\N{BUG}" * 196
    assert len(json.dumps(sent[0])) < LINE_BYTES


@pytest.mark.parametrize("words", [("status",), ("spool",), ("config", "show")])
def test_who_has_read_enough_ends_it_quietly(box: Path, words: tuple[str, ...]) -> None:
    """`| head -1` gets its line, and no traceback follows."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "headwater_agent", *words, "--config", str(box)]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, b"")


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
