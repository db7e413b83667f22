"""Many seeds, on all processors."""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.simulation.play import Outcome, play

_BATCH = 8


def play_many(first: int, seeds: int, agents: int) -> int:
    """Play them, tell of each that broke a promise how to replay it, and sum up; give the exit status."""
    began = time.perf_counter()
    merges = crashes = done = 0
    hours = 0.0
    broken: list[Outcome] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("histories", total=seeds)
        for outcome in _played(first, seeds, agents):
            done += 1
            merges += outcome.merges
            crashes += outcome.crashes
            hours += outcome.virtual_s / 3600
            rate = done / (time.perf_counter() - began)
            bar.update(task, advance=1, description=f"{rate:.1f} histories/s, {len(broken)} broken")
            if outcome.broken:
                broken.append(outcome)
                bar.console.print(f"seed {outcome.seed}: {outcome.broken}\n    {_again(outcome, agents)}", markup=False)
    took_s = time.perf_counter() - began
    print(
        f"{done} histories in {took_s:.0f} s ({done / took_s:.1f} a second): {hours:.0f} simulated hours, "
        f"{crashes} crashes, {merges} merges, {len(broken)} broke a promise"
    )
    for outcome in broken[:1]:
        print(f"replay one: {_again(outcome, agents)}")
    return 1 if broken else 0


def _played(first: int, seeds: int, agents: int) -> Iterator[Outcome]:
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(
            _light, range(first, first + seeds), [agents] * seeds, chunksize=_BATCH if seeds >= 4 * _BATCH else 1
        )


def _light(seed: int, agents: int) -> Outcome:
    """Play one, and leave its lines where they are: the seed makes them again."""
    outcome = play(seed, agents=agents)
    return Outcome(
        outcome.seed,
        outcome.broken,
        (),
        outcome.fingerprint,
        outcome.merges,
        outcome.crashes,
        outcome.steps,
        outcome.virtual_s,
    )


def _again(outcome: Outcome, agents: int) -> str:
    return f"{sys.executable} -m tests.simulation {outcome.seed} --trace" + (f" --agents {agents}" if agents else "")
