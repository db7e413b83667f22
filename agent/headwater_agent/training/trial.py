"""Proves that a bundle trains: one step on random data of the right shapes. Run by the control plane at import.

`python -m headwater_agent.training.trial FOLDER`, where FOLDER holds manifest.json, parameters.safetensors and
blobs/, named by their digests; the verdict is one JSON object on stdout. The engine may crash: then there is none.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from headwater_wire import manifest
from headwater_wire.ids import Digest
from headwater_wire.manifest import Manifest, TensorSpec
from headwater_wire.messages import Plan
from headwater_wire.tensors import open_vector

from headwater_agent.training.engine import Batch, Bundle
from headwater_agent.training.engines import engine
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.lifeline import die_with_parent

_EXAMPLES = 4
_LEARNING_RATE = 1e-3


def run(folder: Path) -> dict[str, Any]:
    """Take one step; say {"trains": true, "moved": …, "loss": …}, or {"trains": false, "problem": …}."""
    description = manifest.parse((folder / "manifest.json").read_bytes())
    with open_vector(folder / "parameters.safetensors", description) as floats:
        base = floats.load()
    try:
        files = {path.name: path for path in (folder / "blobs").iterdir()}
        session = engine("portable").open(Bundle(description, {Digest(name): files[name] for name in files}), threads=1)
        session.load(base, Plan())
        batch = random_batch(description)
        loss = session.train_step(batch, _LEARNING_RATE)
        session.evaluate(batch)
        moved = not np.array_equal(session.vector(), base)
        session.close()
    except NotPossible as error:
        return {"trains": False, "problem": str(error)}
    except RuntimeError as error:  # what the engine raises while it runs
        return {"trains": False, "problem": " ".join(str(error).split())[:800]}
    return {"trains": True, "moved": moved, "loss": loss if np.isfinite(loss) else None}


def random_batch(description: Manifest) -> Batch:
    """Make examples that any model of these inputs accepts: floats around 0, whole numbers 0 or 1."""
    random = np.random.default_rng(0)
    batch = {spec.name: _random(spec, random) for spec in description.inputs}
    label = description.loss.label
    if label is None:
        return batch
    if description.loss.kind == "cross_entropy":
        labels = random.integers(0, description.loss.classes, _EXAMPLES)
    else:
        labels = random.integers(0, 2, (_EXAMPLES, *label.shape))
    return {**batch, "label": labels.astype(label.dtype)}


def _random(spec: TensorSpec, random: np.random.Generator) -> npt.NDArray[Any]:
    shape = (_EXAMPLES, *spec.shape)
    floats = np.dtype(spec.dtype).kind == "f"
    values: npt.NDArray[Any] = random.standard_normal(shape) if floats else random.integers(0, 2, shape)
    return values.astype(spec.dtype)


if __name__ == "__main__":
    die_with_parent()
    verdict = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not reach the verdict
    print(json.dumps(run(Path(sys.argv[1]))), file=verdict, flush=True)
