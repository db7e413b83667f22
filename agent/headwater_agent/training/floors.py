"""The owner's privacy floor, kept where the data is: how many examples, how far a delta reaches, with what noise."""

from math import sqrt

import numpy as np
from headwater_wire.messages import Metrics, Plan

from headwater_agent.core.policy import Floor, refusal
from headwater_agent.training.datasets.split import split
from headwater_agent.training.engine import Vector
from headwater_agent.training.errors import NotPossible

_BLOCK = 1 << 18  # numbers at a time: their float64 copies are 2 MB
_ROUNDING = 1 - 2**-22  # so that numbers rounded to float32 don't lift the norm over the bound


def check_examples(dataset: str, count: int, plan: Plan, floor: Floor) -> None:
    """Raise `NotPossible` if the delta, or a figure that is reported, would come from fewer examples than allowed."""
    trained, scored = (len(rows) for rows in split(count, plan.holdout))
    for examples, what, matters in (
        (count, "there are", True),
        (trained, "the task would train on", plan.train),
        (scored, "the task would score", floor.report_metrics and scored > 0),
    ):
        if matters and examples < floor.min_examples:
            raise NotPossible(
                refusal("min_examples", f"is {floor.min_examples}, and of dataset {dataset!r} {what} {examples}")
            )


def protect(delta: Vector, floor: Floor, seed: int) -> None:
    """Clip a delta to the floor's L2 norm and add its Gaussian noise, in place, whatever the task asked for.

    McMahan, Ramage, Talwar and Zhang, "Learning differentially private recurrent language models" (ICLR 2018),
    bound and blur a client's whole update so; the Gaussian mechanism is that of Abadi et al., "Deep learning with
    differential privacy" (CCS 2016). Here each box adds all of the noise by itself, and nobody accounts for it.
    """
    if not floor.clip_norm:
        return
    norm, random = l2_norm(delta), np.random.default_rng(seed)
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


def told(metrics: Metrics, floor: Floor) -> Metrics:
    """Leave of the metrics what the floor lets go: without it all, else what a merge and a person's patience need."""
    if floor.report_metrics:
        return metrics
    return Metrics(examples=metrics.examples, seconds=metrics.seconds)
