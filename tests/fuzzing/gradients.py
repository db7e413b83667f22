"""Whether a bundle's training step goes down the slope: its gradient against differences of its own loss."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from headwater_agent.training.engine import Batch, Bundle, Session
from headwater_agent.training.engines.portable import PortableEngine
from headwater_agent.training.trial import random_batch
from headwater_wire import manifest
from headwater_wire.ids import Digest
from headwater_wire.messages import Plan
from headwater_wire.tensors import open_vector

Vector = npt.NDArray[np.float32]

_EXAMPLES = 3
_STEPS = (3e-2, 1e-2, 3e-3)  # of the parameters; small ones drown in float32, large ones in curvature
_COMPARED = 5  # parameters of one model
_WITHIN = 0.03
_NOISE = 3e-6  # of the loss: what float32 loses on its way through the graph


@dataclass(frozen=True, slots=True)
class Step:
    """One step on random data. `disagrees` says for which parameter, and how; "": the gradient is right."""

    loss: float
    finite: bool
    compared: int  # parameters whose slope stands out of the noise, and has no kink here
    disagrees: str = ""


def take_step(folder: Path, seed: int, *, compare: bool) -> Step:
    """Take a step with a bundle in stock onnxruntime; `compare` its gradient along a direction of each parameter."""
    description = manifest.parse((folder / "manifest.json").read_bytes())
    with open_vector(folder / "parameters.safetensors", description) as floats:
        base = floats.load()
    files = {Digest(path.name): path for path in (folder / "blobs").iterdir()}
    session = PortableEngine().open(Bundle(description, files), threads=1)
    try:
        batch = random_batch(description, _EXAMPLES)
        session.load(base, Plan())
        loss = session.train_step(batch, 1.0)
        gradient = base - session.vector()
        finite = bool(np.isfinite(loss) and np.isfinite(gradient).all())
        if not compare or not finite:
            return Step(loss, finite, 0)
        random = np.random.default_rng(seed)
        compared = 0
        for place in random.permutation(len(description.parameters))[:_COMPARED]:
            parameter = description.parameters[place]
            part = slice(parameter.offset, parameter.offset + parameter.elements)
            direction = np.zeros_like(base)
            direction[part] = _mixed(gradient[part], random)
            wanted = float(gradient.astype(np.float64) @ direction)
            match _agreement(session, batch, base, direction, wanted, loss):
                case None:
                    continue
                case "":
                    compared += 1
                case difference:
                    return Step(loss, finite, compared, f"{parameter.name}: {difference}")
        return Step(loss, finite, compared)
    finally:
        session.close()


def _mixed(gradient: Vector, random: np.random.Generator) -> Vector:
    """Give a unit direction: mostly the gradient's, where the signal is, and partly any, where mistakes show."""
    other = random.standard_normal(gradient.shape)
    direction = 0.7 * other / np.linalg.norm(other)
    if size := float(np.linalg.norm(gradient)):
        direction = direction + gradient / size
    unit: Vector = (direction / np.linalg.norm(direction)).astype(np.float32)
    return unit


def _agreement(
    session: Session, batch: Batch, base: Vector, direction: Vector, wanted: float, loss: float
) -> str | None:
    """Say how the slope along a direction differs from the gradient's; "" if it does not, None if it can't be told."""
    told = []
    for step in _STEPS:
        above, below = (_loss(session, batch, base + np.float32(sign * step) * direction) for sign in (1, -1))
        noise = _NOISE * max(1.0, abs(loss)) / step
        right, left = (above - loss) / step, (loss - below) / step
        slope, bend = (right + left) / 2, abs(right - left) / 2
        if abs(slope - wanted) <= _WITHIN * abs(wanted) + noise:
            return ""
        if np.isfinite(slope) and bend <= _WITHIN * abs(slope) + noise:  # smooth between: no kink excuses it
            told.append(f"slope {slope:.6g} at step {step:g}, gradient {wanted:.6g}")
    return "; ".join(told) if len(told) == len(_STEPS) else None


def _loss(session: Session, batch: Batch, vector: Vector) -> float:
    session.load(vector, Plan())
    return session.train_step(batch, 0.0)
