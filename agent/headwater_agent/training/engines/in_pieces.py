"""A step in little memory: the batch piece by piece, and everything written where it was read.

The gradients of the pieces are added up, so that the step is that of the whole batch but for rounding. Writing in place
is safe, as each new value is made, number by number, of all that reads the old one (test_in_place.py holds that).
"""

from pathlib import Path

import numpy as np
from headwater_wire import graphs
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Plan

from headwater_agent.training.engine import Batch, Vector
from headwater_agent.training.engine import State as Saved
from headwater_agent.training.engines import stock
from headwater_agent.training.engines.state import Hyperparameters, State


class InPieces:
    """Frugal: one set of parameters and state, one of summed gradients, and a few examples' activations."""

    def __init__(self, manifest: Manifest, runtime: stock.Runtime, accumulate: Path, update: Path, piece: int) -> None:
        self._accumulate = runtime.session(str(accumulate))
        self._update = runtime.session(str(update), frozen=False)
        fed = {value.name for value in self._accumulate.get_inputs()}
        specs = (*manifest.inputs, manifest.loss.label)
        self._batch_inputs = [spec.name for spec in specs if spec and spec.name in fed]
        self.state = State(manifest)
        self.given = Hyperparameters(manifest)
        self._totals: Vector = np.zeros(manifest.elements, np.float32)
        self._loss, self._weight, self._weights = (np.zeros((), np.float32) for _ in range(3))
        self._piece = None if manifest.coupled or self.state.statistics() else piece
        self._bind(manifest)

    def begin(self, vector: Vector, plan: Plan) -> None:
        """Start a task."""
        self.state.begin(vector)
        self.given.begin(vector, plan)

    def resume(self, saved: Saved) -> None:
        """Go on with a task that has begun, from there."""
        self.state.resume(saved)
        self.given.resume(saved)

    def step(self, batch: Batch, learning_rate: float) -> float:
        """Take one; give the loss before it."""
        self.given.next_step(learning_rate)
        self._totals[:] = 0
        loss = weights = 0.0
        for piece in pieces(batch, self._piece):
            held = [np.ascontiguousarray(piece[name]) for name in self._batch_inputs]  # as long as the run lasts
            for name, values in zip(self._batch_inputs, held, strict=True):
                self._adding.bind_cpu_input(name, values)
            self._accumulate.run_with_iobinding(self._adding)
            loss += float(self._loss) * float(self._weight)
            weights += float(self._weight)
        self._weights[...] = weights
        self._update.run_with_iobinding(self._moving)
        return loss / weights

    def _bind(self, manifest: Manifest) -> None:
        descending = tuple(parameter for parameter in manifest.parameters if not parameter.statistic)
        parts = stock.views(self._totals, descending)
        totals = {graphs.total(name): part for name, part in parts.items()}
        self._adding, self._moving = self._accumulate.io_binding(), self._update.io_binding()
        stock.bind_inputs(self._adding, self.state.parameters() | totals)
        summed = {graphs.new(name): values for name, values in (totals | self.state.statistics()).items()}
        stock.bind_outputs(self._adding, summed | {graphs.LOSS: self._loss, graphs.WEIGHT: self._weight})
        moved = self.state.descending()
        stock.bind_inputs(self._moving, moved | totals | self.given.tensors() | {graphs.WEIGHT: self._weights})
        stock.bind_outputs(self._moving, {graphs.new(name): values for name, values in moved.items()})


def pieces(batch: Batch, size: int | None) -> list[Batch]:
    """Cut a batch into pieces of at most so many examples; None: one piece."""
    examples = len(next(iter(batch.values())))
    starts = range(0, examples, size or examples)
    return [{name: values[at : at + (size or examples)] for name, values in batch.items()} for at in starts]
