"""A fleet that trains for a thousand rounds, and what its processes take meanwhile."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from headwater.demo.processes import cold

from tests.support import footprint
from tests.support.fleet import fleet
from tests.support.noise import NOISE_TOML, save_noise
from tests.support.wide_model import save_wide_model

SIDE = 160  # SIDE × SIDE parameters: 100 KB a delta, so that one kept each round would show
BOXES = ("box-1", "box-2", "box-3")


@dataclass(frozen=True, slots=True)
class Taken:
    """What one process takes at one moment: MB of 2^20 bytes, open files, and its state on disk."""

    memory_mb: float
    files: int
    disk_mb: float


@dataclass(frozen=True, slots=True)
class Sample:
    """All of them, when so many rounds had begun."""

    rounds: int
    control: Taken
    agent: Taken
    worker: Taken  # the agent's child, which trains


def endure(folder: Path, rounds: int, every: int, told: Callable[[Sample], None] = lambda _: None) -> list[Sample]:
    """Train with a constant for so many rounds on real processes; look at them every so many, of agents at the first.

    `every` divides `rounds`. Raise AssertionError if the run does not complete.
    """
    with fleet(folder, launch=cold) as made:  # forked from what has loaded more, they would take what that takes
        for box in BOXES:
            save_noise(folder / box, SIDE)
            made.add(box, NOISE_TOML, engine="constant")
        made.wait_registered()
        save_wide_model(folder / "wide.onnx", SIDE)
        made.client.models.import_file(folder / "wide.onnx", loss="mse")
        run = made.client.runs.start(
            model="wide", dataset="noise", rounds=rounds, learning_rate=0.001, over_select=1.0, holdout=0.0
        )
        samples: list[Sample] = []
        for detail in made.client.runs.watch(run.id):
            begun = detail.run.round  # the last one only scores what the others made
            if every * (len(samples) + 1) <= begun <= rounds:
                samples.append(_look(folder, begun, made.control.pid, made.agents[BOXES[0]].pid))
                told(samples[-1])
        assert detail.run.state == "completed", detail.run.reason
        return samples


def slope(samples: list[Sample], what: Callable[[Sample], float]) -> float:
    """Fit how much it grows in a thousand rounds, by the median of all pairs' slopes (Theil and Sen)."""
    return 1000 * statistics.median(
        (what(late) - what(early)) / (late.rounds - early.rounds)
        for place, late in enumerate(samples)
        for early in samples[:place]
    )


def _look(folder: Path, rounds: int, control: int, agent: int) -> Sample:
    children = psutil.Process(agent).children(recursive=True)
    worker = max((child.pid for child in children), key=lambda pid: footprint.memory(pid)[0])
    return Sample(
        rounds,
        _taken(control, folder / "control-plane"),
        _taken(agent, folder / BOXES[0] / "state"),
        _taken(worker, None),
    )


def _taken(pid: int, state: Path | None) -> Taken:
    disk = sum(file.stat().st_size for file in state.rglob("*") if file.is_file()) if state else 0
    return Taken(footprint.memory(pid)[0], footprint.open_files(pid), disk / 2**20)
