"""Train on the digits here and on an emulated aarch64, and compare: `python -m tests.aarch64` (`make test-aarch64`).

The same worker does the same job, twenty steps on one thread: once in this environment on x86-64, once with aarch64
wheels of the same versions under qemu's user emulation. Then each parameter's largest difference may be 1e-5 of its
largest magnitude. The first run fetches 135 MB from Debian and the package index, and keeps 205 MB.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.aarch64 import comparison, exercise, report
from tests.aarch64.cache import CannotPrepare, kept, note, open_cache
from tests.aarch64.debian import debian
from tests.aarch64.exercise import Exercise
from tests.aarch64.machine import Machine, Versions, WorkerFailed, emulated, native
from tests.aarch64.progress import doing
from tests.aarch64.report import Run
from tests.aarch64.wheels import wheels

_CHECKOUT = Path(__file__).parents[2]


def main() -> int:
    """Run from the command line: 0 if they agree, 1 if they don't, 2 if it can't be found out."""
    parser = argparse.ArgumentParser(
        prog="tests.aarch64", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=_CHECKOUT / ".aarch64", help="where to keep what was fetched")
    parser.add_argument("--cpu", default="cortex-a72", help="the processor to emulate (default: %(default)s)")
    wanted = parser.parse_args()
    try:
        machine, versions = _emulated(open_cache(wanted.cache), wanted.cpu)
        with tempfile.TemporaryDirectory(prefix="headwater-aarch64-") as name:
            folder = Path(name)
            with doing("importing the digits' classifier"):
                task = exercise.prepare(folder)
            here = _run(native(), Versions.read(native().ask()), task, folder)
            there = _run(machine, versions, task, folder)
    except (CannotPrepare, WorkerFailed) as error:
        print(f"aarch64: {error}", file=sys.stderr)
        return 2
    found = tuple(comparison.differences(task.description, here.parameters, there.parameters))
    report.show((here, there), found)
    worst = max(found, key=lambda one: (not one.small, one.relative))
    if not worst.small:
        print(f"they differ: {worst.parameter} by {worst.relative:.1e}, of {comparison.TOLERANCE:.0e} allowed")
        return 1
    print(f"they agree: at most {worst.relative:.1e} apart ({worst.parameter}), of {comparison.TOLERANCE:.0e} allowed")
    return 0


def _emulated(cache: Path, cpu: str) -> tuple[Machine, Versions]:
    """Have all that the emulated machine needs, and see once that it starts."""
    system = debian(cache)
    machine = emulated(system, wheels(cache, system.python_version), cpu)
    started = kept(
        cache / f"started-{cpu}",
        note(cache / "debian") + note(cache / "wheels"),
        "starting ONNX Runtime on aarch64",
        lambda empty: (empty / "versions").write_text(machine.ask()),
    )
    return machine, Versions.read((started / "versions").read_text())


def _run(machine: Machine, versions: Versions, task: Exercise, folder: Path) -> Run:
    """Do the exercise on one machine."""
    delta = folder / f"{machine.name}.delta"
    with doing(f"training on {machine.name}") as tell:
        outcome, seconds = machine.train(
            replace(task.job, delta_path=str(delta)), lambda step: tell(f"step {step.step} of {step.steps}")
        )
    return Run(machine, versions, outcome, seconds, task.trained(outcome, delta))


if __name__ == "__main__":
    sys.exit(main())
