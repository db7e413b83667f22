"""An engine that trains nothing: each step adds the learning rate to every parameter.

For benches and tests of everything but training, where the merged result must be foreseeable.
"""

import numpy as np
from headwater_wire.messages import Plan

from headwater_agent.training.engine import Batch, Bundle, Score, Session, State, Vector


class ConstantEngine:
    """Adds a constant."""

    def version(self) -> str:
        """Name what computes."""
        return "constant"

    def open(self, bundle: Bundle, threads: int) -> Session:
        """Prepare nothing: the graph is not even read."""
        return _ConstantSession(bundle.manifest.elements)


class _ConstantSession:
    def __init__(self, elements: int) -> None:
        self._vector = np.zeros(elements, np.float32)

    def load(self, vector: Vector, plan: Plan) -> None:
        self._vector = vector.astype(np.float32, copy=True)

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        self._vector += np.float32(learning_rate)
        return 0.0

    def evaluate(self, batch: Batch) -> Score:
        return Score(0.0)

    def vector(self) -> Vector:
        return self._vector.copy()

    def state(self) -> State:
        return {"parameters": self._vector}

    def restore(self, state: State) -> None:
        self._vector[:] = state["parameters"]

    def close(self) -> None:
        """Nothing is held."""
