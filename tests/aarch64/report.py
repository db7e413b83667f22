"""What two machines made of the same exercise, for people to read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headwater.cli.output import out, table
from headwater_agent.training.protocol import Trained

from tests.aarch64 import exercise
from tests.aarch64.comparison import TOLERANCE, Difference
from tests.aarch64.exercise import Vector
from tests.aarch64.machine import Machine, Versions


@dataclass(frozen=True, slots=True)
class Run:
    """One machine's: `seconds` are from its worker's start to its end."""

    machine: Machine
    versions: Versions
    outcome: Trained
    seconds: float
    parameters: Vector


def show(runs: Sequence[Run], found: Sequence[Difference]) -> None:
    """Print the runs side by side, and how far their parameters are apart."""
    columns = [_column(run) for run in runs]
    rows = [(row, *(column[row] for column in columns)) for row in columns[0]]
    out.print(table(("", *(run.machine.name for run in runs)), rows))
    out.print()
    out.print(table(("parameter", "shape", "largest", "difference, relative", ""), _rows(found)))
    out.print()


def _column(run: Run) -> dict[str, str]:
    metrics = run.outcome.metrics
    return {
        "processor": run.versions.machine,
        "emulated": run.machine.emulation or "no",
        "Python": run.versions.python,
        "NumPy": run.versions.numpy,
        "ONNX Runtime": run.versions.onnxruntime,
        "steps": str(exercise.steps(metrics)),
        "loss before, on the held out": f"{metrics.holdout_loss:.7f}",
        "loss in the last epoch": f"{metrics.train_loss:.7f}",
        "milliseconds a step": f"{1000 * metrics.seconds / exercise.STEPS:.1f}",
        "seconds, start-up included": f"{run.seconds:.1f}",
    }


def _rows(found: Sequence[Difference]) -> Iterator[tuple[str, ...]]:
    for one in found:
        shape = "×".join(str(size) for size in one.shape)
        verdict = "" if one.small else f"more than {TOLERANCE:.0e}"
        yield one.parameter, shape, f"{one.largest:.3g}", f"{one.relative:.1e}", verdict
