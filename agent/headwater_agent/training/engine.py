"""What a training engine must do. Everything around it (data, batches, deltas, metrics) is the same for all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from headwater_wire.ids import Digest
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Blob, Plan

from headwater_agent.training.errors import NotPossible

Vector = npt.NDArray[np.float32]  # one dimension: a version's parameters, in the manifest's order
State = Mapping[str, Vector]  # all that a step depends upon but its batch
Batch = Mapping[str, npt.NDArray[Any]]  # a tensor per model input, and "label"; the first axis is the example's


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model as it reached the box: of the blobs that its manifest names, those that were asked for."""

    manifest: Manifest
    files: Mapping[Digest, Path]

    def path(self, blob: Blob) -> Path:
        """Name a blob's file; raise `NotPossible` if it was not brought."""
        if blob.digest not in self.files:
            raise NotPossible(f"the bundle's blob {blob.digest[:12]} was not brought here: is the engine another one?")
        return self.files[blob.digest]


@dataclass(frozen=True, slots=True)
class Score:
    """Sums over examples; what a loss does not define is 0."""

    loss: float
    correct: float = 0.0
    absolute_error: float = 0.0


class Session(Protocol):
    """One model, ready to train. Nothing outlasts `load` but what was compiled."""

    def load(self, vector: Vector, plan: Plan) -> None:
        """Begin from these parameters, with the plan's hyperparameters and seed and a fresh optimizer."""

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        """Take one step down the batch's mean loss; return that loss, as it was before the step."""

    def evaluate(self, batch: Batch) -> Score:
        """Score the parameters on some examples."""

    def vector(self) -> Vector:
        """Copy the parameters out."""

    def state(self) -> State:
        """Show what the next step depends upon, as it lies in memory: the next step overwrites it."""

    def restore(self, state: State) -> None:
        """Go on from what `state` showed once, here or in another process; after `load`, with the same arguments."""

    def close(self) -> None:
        """Let go of what it holds; the session is not used again."""


class Engine(Protocol):
    """A way to train."""

    def version(self) -> str:
        """Name what computes: where this and all else is equal, so are the bits."""

    def open(self, bundle: Bundle, threads: int) -> Session:
        """Prepare a model; raise `NotPossible` if this engine can't train it."""
