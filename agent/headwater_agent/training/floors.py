"""The owner's privacy floor on a delta: how far it reaches, and with what noise."""

import os
from math import isfinite, sqrt
from pathlib import Path

import numpy as np
from headwater_wire import codecs, digests
from headwater_wire.errors import WireError

from headwater_agent.core.policy import Floor
from headwater_agent.training.engine import Vector
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import Protect, Protected

_BLOCK = 1 << 18  # numbers at a time: their float64 copies are 2 MB
_ROUNDING = 1 - 2**-22  # so that numbers rounded to float32 don't lift the norm over the bound


def guarded(job: Protect) -> Protected:
    """Protect a plain delta, from randomness that no task knows, in a file of its own.

    Read once: whoever wrote it may still be writing. Raise `NotPossible` if it is none, or its numbers are not finite.
    """
    try:
        with codecs.open_delta(Path(job.delta_path), "f32", job.elements) as floats:
            delta = floats.load()
    except (OSError, WireError) as error:
        raise NotPossible(f"the delta can't be protected: {error}") from error
    # Never of the task's seed: whoever knows the noise can take it away.
    protect(delta, job.floor, seed=int.from_bytes(os.urandom(32)))
    path = Path(job.protected_path)
    codecs.write_delta(path, delta, job.codec)
    return Protected(digests.of_file(path))


def protect(delta: Vector, floor: Floor, seed: int) -> None:
    """Clip a delta to the floor's L2 norm and add its Gaussian noise, in place, whatever the task asked for.

    McMahan, Ramage, Talwar and Zhang, "Learning differentially private recurrent language models" (ICLR 2018),
    bound and blur a client's whole update so; the Gaussian mechanism is that of Abadi et al., "Deep learning with
    differential privacy" (CCS 2016). Here each box adds all of the noise by itself, and nobody accounts for it.
    Raise `NotPossible` for numbers that are not finite.
    """
    if not floor.clip_norm:
        return
    norm, random = l2_norm(delta), np.random.default_rng(seed)
    if not isfinite(norm):  # a NaN would pass the clipping, and carry 22 bits past the noise
        raise NotPossible("the delta can't be protected: its numbers are not finite")
    scale = floor.clip_norm / norm * _ROUNDING if norm > floor.clip_norm else 1.0
    for start in range(0, len(delta), _BLOCK):
        block = delta[start : start + _BLOCK]
        block[:] = block.astype(np.float64) * scale  # as float32 a small scale would be a coarse one
        if floor.noise_multiplier:
            block += random.normal(0.0, floor.noise_multiplier * floor.clip_norm, len(block))


def l2_norm(vector: Vector) -> float:
    """Measure a vector, without losing small numbers beside large ones."""
    blocks = (vector[start : start + _BLOCK].astype(np.float64) for start in range(0, len(vector), _BLOCK))
    return sqrt(sum(float(block @ block) for block in blocks))
