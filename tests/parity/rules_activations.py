"""Activations, softmax, and Dropout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional

from tests.control_plane.compiler.autodiff.checking import Arrays, node
from tests.parity.rules_case import SHAPES, Case, axis_of, case, maybe_growing, numbers


def hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """PyTorch's, with any slope."""
    return functional.hardsigmoid(6 * (alpha * x + beta - 0.5))


def selu(x: Any, **constants: float) -> Any:
    """PyTorch's, or with other constants."""
    if not constants:
        return functional.selu(x)
    return constants.get("gamma", 1.0507009873554805) * functional.elu(x, constants.get("alpha", 1.6732632423543772))


# With ONNX's defaults; each attribute is left out half of the time.
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "Celu": lambda x, alpha=1.0: functional.celu(x, alpha),
    "Elu": lambda x, alpha=1.0: functional.elu(x, alpha),
    "Gelu": lambda x, approximate="none": functional.gelu(x, approximate=approximate),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": functional.hardswish,
    "LeakyRelu": lambda x, alpha=0.01: functional.leaky_relu(x, alpha),
    "Mish": functional.mish,
    "Relu": functional.relu,
    "Selu": selu,
    "Sigmoid": torch.sigmoid,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Tanh": torch.tanh,
    "ThresholdedRelu": lambda x, alpha=1.0: functional.threshold(x, alpha, 0),
}
ATTRIBUTES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "Celu": {"alpha": st.sampled_from([0.5, 2.0])},
    "Elu": {"alpha": st.sampled_from([0.5, 1.0, 2.0])},
    "Gelu": {"approximate": st.sampled_from(["none", "tanh"])},
    "HardSigmoid": {"alpha": st.sampled_from([0.125, 0.5]), "beta": st.sampled_from([0.25, 0.75])},
    "LeakyRelu": {"alpha": st.sampled_from([-0.5, 0.0, 0.25, 1.5])},
    "Selu": {"alpha": st.sampled_from([0.5, 1.5]), "gamma": st.sampled_from([0.5, 2.0])},
    "ThresholdedRelu": {"alpha": st.sampled_from([-0.5, 0.0, 0.5])},
}


@case(*ACTIVATIONS)
def activation(draw: st.DrawFn, kind: str) -> Case:
    """Any of them, from where it is flat to where it is steep."""
    attributes = draw(st.fixed_dictionaries({}, optional=ATTRIBUTES.get(kind, {})))
    x = numbers(draw, draw(SHAPES), -6, 6)
    batch = maybe_growing(draw, x=x)
    return Case(node(kind, ["x"], **attributes), {"x": x}, lambda x: ACTIVATIONS[kind](x, **attributes), batch=batch)


@case("PRelu")
def prelu(draw: st.DrawFn, kind: str) -> Case:
    """A slope for each channel; or, what PyTorch has no name for, of any shape that broadcasts to x."""
    if draw(st.booleans()):
        x = numbers(draw, draw(arrays.array_shapes(min_dims=3, max_dims=4, max_side=4)))
        slope = numbers(draw, (x.shape[1], *[1] * (x.ndim - 2)))
        inputs, batch = {"x": x, "s": slope}, maybe_growing(draw, x=x)
        return Case(node(kind, ["x", "s"]), inputs, lambda x, s: functional.prelu(x, s.flatten()), batch=batch)
    x = numbers(draw, draw(SHAPES))
    whole = x.shape[draw(st.integers(0, x.ndim)) :]
    inputs = {"x": x, "s": numbers(draw, [size if draw(st.booleans()) else 1 for size in whole])}
    batch = maybe_growing(draw, **inputs)
    return Case(node(kind, ["x", "s"]), inputs, lambda x, s: torch.where(x > 0, x, s * x), batch=batch)


@case("Clip")
def clip(draw: st.DrawFn, kind: str) -> Case:
    """On either side, on both, or on none."""
    low, high = draw(st.sampled_from([None, -1.5, 0.0])), draw(st.sampled_from([None, 0.5, 6.0]))
    constants: Arrays = {
        name: np.array(bound, np.float32) for name, bound in {"low": low, "high": high}.items() if bound is not None
    }
    names = ["x", *(name if name in constants else "" for name in ("low", "high"))]
    x = numbers(draw, draw(SHAPES))

    def function(x: Any) -> Any:
        return x.clone() if low is None and high is None else torch.clamp(x, low, high)

    return Case(node(kind, names), {"x": x}, function, constants, maybe_growing(draw, x=x))


@case("Dropout")
def dropout(draw: st.DrawFn, kind: str) -> Case:
    """At rest; and in training, but with nothing dropped: what is, is random."""
    training = draw(st.booleans())
    ratio = 0.0 if training else draw(st.sampled_from([0.0, 0.25]))
    constants: Arrays = {"ratio": np.array(ratio, np.float32), "training": np.array(training)}
    x = numbers(draw, draw(SHAPES))
    dropped = node(kind, ["x", *constants], ["y", "mask"])
    batch = maybe_growing(draw, x=x)
    return Case(dropped, {"x": x}, lambda x: functional.dropout(x, ratio, training), constants, batch)


SOFTMAXES: dict[str, Callable[..., Any]] = {"Softmax": functional.softmax, "LogSoftmax": functional.log_softmax}


@case(*SOFTMAXES)
def softmax(draw: st.DrawFn, kind: str) -> Case:
    """Along any axis, of numbers that are large."""
    x = numbers(draw, draw(SHAPES), -30, 30)
    axis = axis_of(draw, x.ndim)
    batch = maybe_growing(draw, x=x)
    return Case(node(kind, ["x"], axis=axis), {"x": x}, lambda x: SOFTMAXES[kind](x, axis), batch=batch)
