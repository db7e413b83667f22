"""What a training engine must do. Everything around it (data, batches, deltas, metrics) is the same for all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from headwater_wire.manifest import Manifest

Vector = npt.NDArray[np.float32]  # one dimension: a version's parameters, in the manifest's order
Batch = Mapping[str, npt.NDArray[Any]]  # a tensor per model input, and "label"; the first axis is the example's


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model as it reached the box."""

    manifest: Manifest
    graph_path: Path


class Session(Protocol):
    """One model, ready to train. Nothing outlasts `load` but what was compiled."""

    def load(self, vector: Vector, seed: int) -> None:
        """Begin from these parameters; `seed` is for whatever the graph draws at random."""

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        """Take one step of plain SGD down the batch's mean loss; return that loss, as it was before the step."""

    def evaluate(self, batch: Batch) -> tuple[float, float]:
        """Score the parameters: (sum of the examples' losses, number of correct answers; 0 where none is defined)."""

    def vector(self) -> Vector:
        """Copy the parameters out."""

    def close(self) -> None:
        """Let go of what it holds; the session is not used again."""


class Engine(Protocol):
    """A way to train."""

    def open(self, bundle: Bundle, threads: int) -> Session:
        """Prepare a model; raise `NotPossible` if this engine can't train it."""
