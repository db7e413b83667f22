"""Named steps at which a test kills a process: there, then, and as often as asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from headwater_wire import crashpoint

PASSES = """
from headwater_wire.crashpoint import crashpoint
for number in range(1, 4):
    for name in ("first", "second"):
        print(name, number, flush=True)
        crashpoint(name)
"""


def run(setting: str | None) -> tuple[int, list[str]]:
    """Pass two steps three times; give how it ended and the last line before."""
    env = {key: value for key, value in os.environ.items() if key != crashpoint.VARIABLE}
    env |= {crashpoint.VARIABLE: setting} if setting is not None else {}
    done = subprocess.run([sys.executable, "-c", PASSES], env=env, stdout=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    ("setting", "returncode", "last"),
    [
        (None, 0, ["second", "3"]),
        ("", 0, ["second", "3"]),
        ("third", 0, ["second", "3"]),
        ("second", -9, ["second", "1"]),
        ("first:3", -9, ["first", "3"]),
        ("second:4", 0, ["second", "3"]),
        ("first:3,second:2", -9, ["second", "2"]),
    ],
)
def test_the_process_dies_at_the_step_and_pass_named(setting: str | None, returncode: int, last: list[str]) -> None:
    """And nowhere else."""
    assert run(setting) == (returncode, last)


def test_with_a_guard_it_dies_once(tmp_path: Path) -> None:
    """A process started again finds the file and lives."""
    guard = tmp_path / "died"
    assert run(f"first:2@{guard}") == (-9, ["first", "2"])
    assert guard.exists()
    assert run(f"first:2@{guard}") == (0, ["second", "3"])


def test_the_parent_can_be_killed_too() -> None:
    """The server whose child works on the step."""
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {PASSES!r}])\nprint('survived')"
    env = os.environ | {crashpoint.VARIABLE: "first^:2"}
    done = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == -9
    assert done.stdout.splitlines()[-1] == "first 2"
