"""`make demo`, shortened: what it tells, what it leaves, and when it counts as failed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime
import pytest
from headwater.demo.story import Learner, Result

from tests.support.waiting import until_now

WORKER = "headwater_agent.training.worker"
STARTED_WITHIN_S = 60.0


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_demo_told_to_stop_cleans_up_however_often_it_is_told(tmp_path: Path, number: signal.Signals) -> None:
    """Impatient Ctrl-C, or the terminal closed: the first one counts, and neither process nor folder remains."""
    with _demo(tmp_path) as demo:

        def cleaned_up() -> bool:
            left = any(tmp_path.glob("headwater-demo-*"))
            if left:
                demo.send_signal(number)
            return not left

        until_now(cleaned_up, "its folder is gone")
        told, _ = demo.communicate(timeout=20)
    assert (demo.returncode, told.splitlines()[-1]) == (130, "stopped: nothing is left running")
    assert not _running(tmp_path), "a process of the demo is still there"


@pytest.mark.long
def test_a_killed_demo_takes_its_processes_with_it(tmp_path: Path) -> None:
    """kill -9 leaves it no time for anything: the kernel tells the others."""
    with _demo(tmp_path) as demo:
        demo.kill()
        until_now(lambda: not _running(tmp_path), "control plane, agents and workers are gone")


@pytest.mark.parametrize(("best_local", "wins"), [(0.79, True), (0.8, False), (0.81, False)])
def test_the_demo_fails_unless_the_merged_model_beats_every_local_one(best_local: float, wins: bool) -> None:
    """To be as good as the best of them is not enough."""

    def learner(accuracy: float) -> Learner:
        return Learner("", "", 1, accuracy)

    local = (learner(0.1), learner(best_local), learner(0.2))
    result = Result("", learner(0.8), learner(0.9), local, 1, 1, 1.0, 1, 1, 1, "digits-2")
    assert result.wins is wins


@contextmanager
def _demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start one that lasts, with SIGINT ignored as a script's `&` has it; wait until it trains. Its folder is here."""
    command = [sys.executable, "-m", "headwater.cli", "demo", "--rounds", "10000", "--devices", "3"]
    with subprocess.Popen(
        [
            "env",
            "--default-signal=HUP",
            "bash",
            "-c",
            'trap "" INT; exec "$@"',
            "demo",
            *command,
            "--to",
            str(folder / "out"),
        ],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        try:
            until_now(lambda: any(WORKER in command for command in _running(folder)), "it trains", STARTED_WITHIN_S)
            yield demo
        finally:
            demo.kill()


def _running(folder: Path) -> list[str]:
    """Name the processes whose command speaks of a folder, or whose temporary files go there: workers name none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            continue
        if str(folder) in command or f"TMPDIR={folder}".encode() in variables:
            found.append(command)
    return found
