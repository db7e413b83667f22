"""`make demo`, shortened: what it tells, what it leaves, and when it counts as failed."""

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from headwater.demo.story import Learner, Result


def test_the_demo_ends_with_a_better_model_and_leaves_nothing_else(tmp_path: Path) -> None:
    """Three devices, three rounds: the merged model wins, is exported and installed; no process or folder remains."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ("demo", "--rounds", "3", "--devices", "3", "--to", str(tmp_path / "out"))
    done = subprocess.run(
        [sys.executable, "-m", "headwater.cli", *arguments],
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for told in (
        "merged from 3 devices",
        "box-3 alone",
        "central",
        "up  ",
        "down  ",
        "3, ",
        "installed and checked on 3",
    ):
        assert told in done.stdout
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    assert [found.name for found in session.get_inputs()] == ["image"]
    assert list(scratch.iterdir()) == []
    assert not _running(scratch), "a process of the demo is still there"


@pytest.mark.parametrize(("best_local", "wins"), [(0.79, True), (0.8, False), (0.81, False)])
def test_the_demo_fails_unless_the_merged_model_beats_every_local_one(best_local: float, wins: bool) -> None:
    """To be as good as the best of them is not enough."""

    def learner(accuracy: float) -> Learner:
        return Learner("", "", 1, accuracy)

    local = (learner(0.1), learner(best_local), learner(0.2))
    result = Result("", learner(0.8), learner(0.9), local, 1, 1, 1.0, 1, 1, 1, "digits-2")
    assert result.wins is wins


def _running(folder: Path) -> list[str]:
    """Name the processes whose command speaks of a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if str(folder) in command:
            found.append(command)
    return found
