"""What both machines train: the digits' classifier, on a few of the digits, for twenty steps."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from headwater.examples import digits
from headwater.examples.classifier import digits_classifier
from headwater_agent import config
from headwater_agent.training.protocol import Train, Trained
from headwater_control.compiler.importer import import_model
from headwater_wire import manifest
from headwater_wire.codecs import open_delta
from headwater_wire.ids import Digest
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Metrics, Plan
from headwater_wire.tensors import open_vector

STEPS = 20
_EXAMPLES = 356  # of which 36 are held out, and 320 are ten batches
PLAN = Plan(epochs=2, batch_size=32, learning_rate=0.05, seed=1, holdout=0.1, threads=1)

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Exercise:
    """A model, its first version, and data for it."""

    description: Manifest
    base: Vector
    job: Train

    def trained(self, outcome: Trained, delta_path: Path) -> Vector:
        """Give the parameters of an outcome: the base with the delta, which moves it by the steps that were meant."""
        with open_delta(delta_path, PLAN.codec, self.description.elements) as floats:
            delta = floats.load()
        if steps(outcome.metrics) != STEPS or not delta.any():
            raise AssertionError(f"no {STEPS} steps that moved something: {outcome}")
        return np.asarray(self.base + delta)


def prepare(folder: Path) -> Exercise:
    """Import the classifier and write the data, as an operator and a box's owner would."""
    onnx.save(digits_classifier(), folder / "digits.onnx")
    imported = import_model(folder / "digits.onnx", folder / "bundle", "digits", "cross_entropy")
    description = manifest.parse(imported.manifest_path.read_bytes())
    with open_vector(imported.parameters_path, description) as floats:
        base = floats.load()
    digits.load().take(np.arange(_EXAMPLES)).save(folder / "digits.npz")
    box = folder / "agent.toml"
    box.write_text('[agent]\nid = "box"\n' + digits.DATASET_TOML.format(path='"digits.npz"'))
    job = Train(
        task="aarch64",
        manifest_path=str(imported.manifest_path),
        files=tuple((Digest(path.name), str(path)) for path in imported.blob_paths),
        base_path=str(imported.parameters_path),
        delta_path=str(folder / "delta"),
        dataset=config.load(box, {}).datasets[0],
        plan=PLAN,
    )
    return Exercise(description, base, job)


def steps(metrics: Metrics) -> int:
    """Count the steps that were trained."""
    return PLAN.epochs * ceil(metrics.examples / PLAN.batch_size)
