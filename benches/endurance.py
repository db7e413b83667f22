"""Whether memory stays flat: `python -m benches endurance --rounds 2000` trains with real processes and looks on."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support.endurance import Sample, Taken, endure, slope

SAMPLES = 50
WARM = 0.5  # of the rounds: until then caches fill, SQLite's with up to 2 MB for each of its connections
LIMIT = 0.02  # of a process's memory, in a thousand rounds

PROCESSES: tuple[tuple[str, Callable[[Sample], Taken]], ...] = (
    ("control plane", lambda sample: sample.control),
    ("agent", lambda sample: sample.agent),
    ("its worker", lambda sample: sample.worker),
)


def main() -> None:
    """Print what each process takes as the rounds go by and how fast that grows; fail if memory is not flat."""
    parser = argparse.ArgumentParser(prog="python -m benches endurance", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="at least 50 (2000: some ten minutes)")
    given = parser.parse_args()
    every = given.rounds // SAMPLES
    if not every:
        parser.error(f"--rounds must be at least {SAMPLES}")
    print("rounds  " + "  ".join(f"{name:>30}" for name, _ in PROCESSES))
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as folder:
        samples = endure(Path(folder), every * SAMPLES, every, _tell)
    warm = samples[int(WARM * len(samples)) :]
    growing = False
    for name, of in PROCESSES:
        base = of(warm[0]).memory_mb
        grown = slope(warm, lambda sample, of=of: of(sample).memory_mb)  # type: ignore[misc]
        growing |= grown > LIMIT * base
        print(
            f"{name}: {base:.1f} MB, {grown:+.2f} MB in a thousand rounds ({grown / base:+.1%}), "
            f"files {of(warm[0]).files} -> {of(warm[-1]).files}"
        )
    print("  # memory as if no other process shared its libraries; slopes are medians over all pairs of samples")
    if growing:
        sys.exit(f"memory grows by more than {LIMIT:.0%} in a thousand rounds")


def _tell(sample: Sample) -> None:
    cells = [
        f"{of(sample).memory_mb:8.1f} MB {of(sample).files:3} f {of(sample).disk_mb:6.1f} MB" for _, of in PROCESSES
    ]
    print(f"{sample.rounds:6}  " + "  ".join(f"{cell:>30}" for cell in cells), flush=True)
