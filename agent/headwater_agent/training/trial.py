"""Proves that a bundle trains: one step on random data of the right shapes. Run by the control plane at import.

`python -m headwater_agent.training.trial FOLDER [EXAMPLES MEMORY]`, where FOLDER holds manifest.json,
parameters.safetensors and blobs/, named by their digests; the verdict is one JSON object on stdout. The engine may
crash: then there is none.
"""

import json
import os
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from headwater_wire import manifest
from headwater_wire.ids import Digest
from headwater_wire.manifest import Manifest, TensorSpec
from headwater_wire.messages import Plan
from headwater_wire.tensors import open_vector

from headwater_agent.training.engine import Batch, Bundle, Session, Vector
from headwater_agent.training.engines import engine
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.lifeline import die_with_parent

_EXAMPLES = 4
_LEARNING_RATE = 1e-3
_TIMED_STEPS = 5


def run(folder: Path, examples: int = _EXAMPLES, memory: str = "normal", *, timed: bool = False) -> dict[str, Any]:
    """Take one step; say {"trains": true, "moved": …, "loss": …}, or {"trains": false, "problem": …}.

    `timed`: take some more, and say "step_s", their median, and "activation_bytes", by how much more than before the
    first step the process grew.
    """
    description = manifest.parse((folder / "manifest.json").read_bytes())
    with open_vector(folder / "parameters.safetensors", description) as floats:
        base = floats.load()
    try:
        files = {path.name: path for path in (folder / "blobs").iterdir()}
        bundle = Bundle(description, {Digest(name): files[name] for name in files})
        session = engine("portable", memory).open(bundle, threads=1)
        session.load(base, Plan())
        batch = random_batch(description, examples)
        _forget_the_peak()
        before = _memory("VmRSS")
        loss = session.train_step(batch, _LEARNING_RATE)
        measured = _measured(session, batch, before) if timed else {}
        session.evaluate(batch)
        moved = not np.array_equal(session.vector(), base)
        session.close()
        if not timed:
            _one_step(engine("portable", "small").open(bundle, threads=1), base, batch)
    except NotPossible as error:
        return {"trains": False, "problem": str(error)}
    except RuntimeError as error:  # what the engine raises while it runs
        return {"trains": False, "problem": " ".join(str(error).split())[:800]}
    return {"trains": True, "moved": moved, "loss": loss if np.isfinite(loss) else None, **measured}


def _one_step(session: Session, base: Vector, batch: Batch) -> None:
    session.load(base, Plan())
    session.train_step(batch, _LEARNING_RATE)
    session.close()


def _measured(session: Session, batch: Batch, before: int) -> dict[str, Any]:
    taken = []
    for _ in range(_TIMED_STEPS):
        began = time.perf_counter()
        session.train_step(batch, _LEARNING_RATE)
        taken.append(time.perf_counter() - began)
    return {"step_s": statistics.median(taken), "activation_bytes": max(0, _memory("VmHWM") - before)}


def _forget_the_peak() -> None:
    """Let VmHWM begin anew, where Linux lets us: loading a model takes more than its steps do."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(what: str) -> int:
    """Read a figure of this process from Linux, in bytes; elsewhere it is 0."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(what)), 0)


def random_batch(description: Manifest, examples: int = _EXAMPLES) -> Batch:
    """Make examples that any model of these inputs accepts: floats around 0, whole numbers 0 or 1."""
    random = np.random.default_rng(0)
    batch = {spec.name: _random(spec, random, examples) for spec in description.inputs}
    label = description.loss.label
    if label is None:
        return batch
    if description.loss.kind == "cross_entropy":
        labels = random.integers(0, description.loss.classes, (examples, *label.shape))
    else:
        labels = random.integers(0, 2, (examples, *label.shape))
    return {**batch, "label": labels.astype(label.dtype)}


def _random(spec: TensorSpec, random: np.random.Generator, examples: int) -> npt.NDArray[Any]:
    shape = (examples, *spec.shape)
    floats = np.dtype(spec.dtype).kind == "f"
    values: npt.NDArray[Any] = random.standard_normal(shape) if floats else random.integers(0, 2, shape)
    return values.astype(spec.dtype)


if __name__ == "__main__":
    die_with_parent()
    verdict = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not reach the verdict
    folder, *measured = sys.argv[1:]
    found = run(Path(folder), int(measured[0]), measured[1], timed=True) if measured else run(Path(folder))
    print(json.dumps(found), file=verdict, flush=True)
