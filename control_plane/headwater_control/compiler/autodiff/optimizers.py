"""The optimizers: one step from parameters, gradients and their state to the next ones.

The hyperparameters are inputs of the graph, scalars named in `Optimizer.inputs`, so that a schedule needs no new graph.
State is laid out as the parameters are: one vector per slot, zeros at first, and `hw.step` counts from 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from headwater_wire import graphs
from headwater_wire.graphs import (
    BETA1,
    BETA2,
    CLIP_NORM,
    EPSILON,
    LEARNING_RATE,
    MOMENTUM,
    PROXIMAL,
    STEP,
    WEIGHT_DECAY,
)

from headwater_control.compiler.autodiff.emitter import Emitter

_NORM_FLOOR = 1e-6  # as PyTorch's clip_grad_norm_
_RATE_FLOOR = 1e-30  # at rate 0 nothing moves, and nothing is divided by 0


@dataclass(frozen=True, slots=True)
class Options:
    """What the step does besides descending: each costs a pass over the parameters, so each is asked for."""

    weight_decay: bool = False
    clip_norm: bool = False
    proximal: bool = False  # FedProx: a pull towards the parameters the task began with (Li et al., 2020)


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An update rule, and what it wants to be fed."""

    name: str
    slots: tuple[str, ...]
    inputs: tuple[str, ...]
    update: Callable[["Step", str, str, Sequence[str]], tuple[str, Sequence[str]]]
    scaled: bool = False  # it wants −learning_rate · gradient instead of the gradient: then an update is one Add


@dataclass(frozen=True, slots=True)
class Step:
    """The pen, and the scalars that are the same for all parameters."""

    g: Emitter
    options: Options
    scalars: Mapping[str, str]


def _sgd(step: Step, p: str, scaled: str, state: Sequence[str]) -> tuple[str, Sequence[str]]:
    """p + (−η·g)."""
    return step.g.add(p, scaled), ()


def _momentum(step: Step, p: str, gradient: str, state: Sequence[str]) -> tuple[str, Sequence[str]]:
    """v = μ·v + g; p − η·v (Polyak, 1964; with dampening 0, as PyTorch's)."""
    g = step.g
    velocity = g.add(g.mul(state[0], MOMENTUM), gradient)
    return g.sub(p, g.mul(velocity, LEARNING_RATE)), (velocity,)


def _nesterov(step: Step, p: str, gradient: str, state: Sequence[str]) -> tuple[str, Sequence[str]]:
    """v = μ·v + g; p − η·(g + μ·v) (Sutskever et al., 2013)."""
    g = step.g
    velocity = g.add(g.mul(state[0], MOMENTUM), gradient)
    ahead = g.add(gradient, g.mul(velocity, MOMENTUM))
    return g.sub(p, g.mul(ahead, LEARNING_RATE)), (velocity,)


def _adam(step: Step, p: str, gradient: str, state: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Adam (Kingma and Ba, 2015), with both moments kept undivided: M = β₁·M + g, V = β₂·V + g².

    m = (1 − β₁)·M and v = (1 − β₂)·V, so that p − η·m̂/(√v̂ + ε) = p − a·M/(√V + e) with two scalars that are the same
    for every parameter: two passes fewer over each.
    """
    g = step.g
    first = g.add(g.mul(state[0], BETA1), gradient)
    second = g.add(g.mul(state[1], BETA2), g.mul(gradient, gradient))
    root = g.add(g.op("Sqrt", second), step.scalars["e"])
    return g.sub(p, g.mul(g.div(first, root), step.scalars["a"])), (first, second)


_ADAM_INPUTS = (LEARNING_RATE, BETA1, BETA2, EPSILON, STEP)
OPTIMIZERS: Mapping[str, Optimizer] = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("sgd", (), (LEARNING_RATE,), _sgd, scaled=True),
        Optimizer("momentum", ("velocity",), (LEARNING_RATE, MOMENTUM), _momentum),
        Optimizer("nesterov", ("velocity",), (LEARNING_RATE, MOMENTUM), _nesterov),
        Optimizer("adam", ("first", "second"), _ADAM_INPUTS, _adam),
        Optimizer("adamw", ("first", "second"), _ADAM_INPUTS, _adam),
    )
}


def inputs(optimizer: Optimizer, options: Options) -> tuple[str, ...]:
    """Name the scalars a step is fed."""
    wanted = ((WEIGHT_DECAY, options.weight_decay), (CLIP_NORM, options.clip_norm), (PROXIMAL, options.proximal))
    return (*optimizer.inputs, *(name for name, asked in wanted if asked))


def seed_scale(optimizer: Optimizer, g: Emitter) -> str:
    """Give the scalar by which the loss's slope is multiplied before anything flows back."""
    return g.neg(LEARNING_RATE) if optimizer.scaled else g.constant(np.array(1, np.float32))


def update(optimizer: Optimizer, options: Options, g: Emitter, gradients: Mapping[str, str]) -> None:
    """Emit the step: for each parameter, the outputs `new(parameter)` and `new(state(slot, parameter))`."""
    gradients = _clipped(optimizer, g, gradients) if options.clip_norm else gradients
    step = Step(g, options, _scalars(optimizer, options, g))
    for parameter, gradient in gradients.items():
        kept, gradient = _regularised(optimizer, step, parameter, gradient)
        slots = [graphs.state(slot, parameter) for slot in optimizer.slots]
        moved, states = optimizer.update(step, kept, gradient, slots)
        g.rename(moved, graphs.new(parameter))
        for name, state in zip(slots, states, strict=True):
            g.rename(state, graphs.new(name))


def _regularised(optimizer: Optimizer, step: Step, parameter: str, gradient: str) -> tuple[str, str]:
    """Give the parameter and the gradient to step with.

    Weight decay adds λ·p to the gradient; adamw shrinks p by η·λ instead (Loshchilov and Hutter, 2019). FedProx adds
    μ·(p − base). For `sgd` both go in times −η, as the gradient is.
    """
    g, kept = step.g, parameter
    if step.options.proximal:
        pull = g.mul(g.sub(parameter, graphs.beginning(parameter)), step.scalars[PROXIMAL])
        gradient = g.add(gradient, pull)
    if step.options.weight_decay and optimizer.name == "adamw":
        kept = g.mul(parameter, step.scalars[WEIGHT_DECAY])
    elif step.options.weight_decay:
        gradient = g.add(gradient, g.mul(parameter, step.scalars[WEIGHT_DECAY]))
    return kept, gradient


def _clipped(optimizer: Optimizer, g: Emitter, gradients: Mapping[str, str]) -> dict[str, str]:
    """Scale all gradients so that their joint norm is at most `hw.clip_norm` (Pascanu et al., 2013)."""
    squares = [g.op("ReduceSumSquare", gradient, keepdims=0) for gradient in gradients.values()]
    norm = g.op("Sqrt", g.op("Sum", *squares))
    if optimizer.scaled:
        norm = g.div(norm, g.op("Max", LEARNING_RATE, g.constant(np.array(_RATE_FLOOR, np.float32))))
    one = g.constant(np.array(1, np.float32))
    factor = g.op("Min", one, g.div(CLIP_NORM, g.add(norm, g.constant(np.array(_NORM_FLOOR, np.float32)))))
    return {name: g.mul(gradient, factor) for name, gradient in gradients.items()}


def _scalars(optimizer: Optimizer, options: Options, g: Emitter) -> dict[str, str]:
    """Emit what is the same for every parameter.

    For Adam a = η·(1 − β₁)/(1 − β₁ᵗ) / √((1 − β₂)/(1 − β₂ᵗ)) and e = ε/√((1 − β₂)/(1 − β₂ᵗ)).
    """
    one = g.constant(np.array(1, np.float32))
    scalars = {}

    def share(beta: str) -> str:
        return g.div(g.sub(one, beta), g.sub(one, g.op("Pow", beta, STEP)))

    if "first" in optimizer.slots:
        root = g.op("Sqrt", share(BETA2))
        scalars = {"a": g.div(g.mul(LEARNING_RATE, share(BETA1)), root), "e": g.div(EPSILON, root)}
    for name, asked in ((WEIGHT_DECAY, options.weight_decay), (PROXIMAL, options.proximal)):
        if asked:
            scalars[name] = g.neg(g.mul(LEARNING_RATE, name)) if optimizer.scaled else name
    if options.weight_decay and optimizer.name == "adamw":
        scalars[WEIGHT_DECAY] = g.sub(one, g.mul(LEARNING_RATE, WEIGHT_DECAY))
    return scalars
