"""A step as one run of a graph, between two sets of parameters and state: it reads one and writes the other."""

from pathlib import Path

import numpy as np
import onnxruntime
from headwater_wire import graphs
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Plan

from headwater_agent.training.engine import Batch, Vector
from headwater_agent.training.engine import State as Saved
from headwater_agent.training.engines import stock
from headwater_agent.training.engines.state import Hyperparameters, State


class WholeBatch:
    """Fast: the whole batch at once."""

    def __init__(self, manifest: Manifest, runtime: stock.Runtime, train: Path) -> None:
        self._train = runtime.session(str(train))
        fed = {value.name for value in self._train.get_inputs()}
        specs = (*manifest.inputs, manifest.loss.label)
        self._batch_inputs = [spec.name for spec in specs if spec and spec.name in fed]
        self._states = (State(manifest), State(manifest))
        self.given = Hyperparameters(manifest)
        self._loss = np.zeros((), np.float32)
        self._bindings = [self._bind(*pair) for pair in (self._states, self._states[::-1])]
        self._turn = 0

    def begin(self, vector: Vector, plan: Plan) -> None:
        """Start a task."""
        self._turn = 0
        self._states[0].begin(vector)
        self.given.begin(vector, plan)

    def step(self, batch: Batch, learning_rate: float) -> float:
        """Take one; give the loss before it."""
        self.given.next_step(learning_rate)
        binding = self._bindings[self._turn]
        held = [np.ascontiguousarray(batch[name]) for name in self._batch_inputs]  # as long as the step lasts
        for name, values in zip(self._batch_inputs, held, strict=True):
            binding.bind_cpu_input(name, values)
        self._train.run_with_iobinding(binding)
        self._turn = 1 - self._turn
        return float(self._loss)

    def resume(self, saved: Saved) -> None:
        """Go on with a task that has begun, from there."""
        self._turn = 0
        self._states[0].resume(saved)
        self.given.resume(saved)

    @property
    def state(self) -> State:
        """The one that is valid now."""
        return self._states[self._turn]

    def _bind(self, before: State, after: State) -> onnxruntime.IOBinding:
        """Bind everything but the batch."""
        binding = self._train.io_binding()
        stock.bind_inputs(binding, before.descending() | before.statistics() | self.given.tensors())
        written = after.descending() | after.statistics()
        stock.bind_outputs(binding, {graphs.new(name): values for name, values in written.items()})
        stock.bind_outputs(binding, {graphs.LOSS: self._loss})
        return binding
