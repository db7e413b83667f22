"""Whatever goes wrong in a fleet, its promises are kept, in histories that a seed decides: docs/simulation.md."""

import os
import subprocess
import sys

import pytest

from tests.simulation.play import play


def played(first: int) -> list[str]:
    """Play ten; tell which promises were broken, and how to see it."""
    outcomes = [play(seed) for seed in range(first, first + 10)]
    again = f"{sys.executable} -m tests.simulation"
    return [f"{outcome.broken} ({again} {outcome.seed} --trace)" for outcome in outcomes if outcome.broken]


@pytest.mark.parametrize("first", range(0, 20, 10))
def test_every_promise_is_kept(first: int) -> None:
    """Nothing acknowledged is lost, nothing is merged twice, and every run ends or says why."""
    assert not played(first)


def test_histories_are_rough() -> None:
    """Machines crash and come back, and there is something to merge all the same: else a kept promise says little."""
    outcomes = [play(seed) for seed in range(3)]
    assert sum(outcome.crashes for outcome in outcomes) > 3
    assert sum(outcome.merges for outcome in outcomes) > 0


@pytest.mark.parametrize("seed", [7, 19])  # the second has two runs to tell of one change
def test_a_seed_tells_the_same_history_again(seed: int) -> None:
    """Line by line, in another process, whatever Python's hashes are."""
    command = [sys.executable, "-m", "tests.simulation", str(seed), "--trace"]
    again = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "4711"}, capture_output=True, text=True, check=False, timeout=100
    )
    assert again.stdout.splitlines()[:-1] == list(play(seed).lines), again.stderr
