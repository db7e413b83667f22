"""Normalizations.

What is normalized has at least two numbers, which lie apart: else all is 0, or PyTorch refuses.
"""

from math import prod
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional

from tests.control_plane.compiler.autodiff.checking import node
from tests.parity.rules_case import Case, axis_of, case, maybe_growing, numbers, numbers_apart

EPSILONS = st.sampled_from([1e-5, 0.125])
IMAGES = arrays.array_shapes(min_dims=2, max_dims=5, max_side=4)


@case("LayerNormalization")
def layers(draw: st.DrawFn, kind: str) -> Case:
    """Over the last axes, with a bias or without, its statistics told or not, a scale that broadcasts or not."""
    before, size = (draw(st.lists(st.integers(1, 4), max_size=2)) for _ in range(2))
    size = size if prod(size) > 1 else [*size, 2]
    epsilon = draw(EPSILONS)
    broadcast = draw(st.booleans())
    inner = [draw(st.sampled_from([side, 1])) for side in size] if broadcast else size
    inputs = {"x": numbers_apart(draw, (*before, *size)), "scale": numbers(draw, inner)}
    if draw(st.booleans()):
        inputs["bias"] = numbers(draw, inner)

    def function(x: Any, scale: Any, bias: Any = None) -> Any:
        if not broadcast:
            return functional.layer_norm(x, size, scale, bias, epsilon)
        y = functional.layer_norm(x, size, eps=epsilon) * scale
        return y if bias is None else y + bias

    outputs = draw(st.sampled_from([["y"], ["y", "mean", "inverse"]]))
    axis = draw(st.sampled_from([len(before), -len(size)]))
    layer = node(kind, list(inputs), outputs, axis=axis, epsilon=epsilon)
    return Case(layer, inputs, function, batch=maybe_growing(draw, x=inputs["x"]) if before else {})


@case("BatchNormalization")
def batches(draw: st.DrawFn, kind: str) -> Case:
    """By running statistics, or by the batch's own."""
    shape, epsilon, training = draw(IMAGES), draw(EPSILONS), draw(st.booleans())
    training = training and prod(shape) > shape[1]
    channels = (shape[1],)
    inputs = {"x": numbers_apart(draw, shape), "scale": numbers(draw, channels), "bias": numbers(draw, channels)}
    mean, variance = numbers(draw, channels), numbers(draw, channels, 0.5, 2)

    def function(x: Any, scale: Any, bias: Any) -> Any:
        running = [torch.tensor(mean), torch.tensor(variance)]
        return functional.batch_norm(x, *running, scale, bias, training, eps=epsilon)

    constants = {"mean": mean, "variance": variance}
    outputs = ["y", "new_mean", "new_variance"] if training else ["y"]
    batch = node(kind, [*inputs, *constants], outputs, epsilon=epsilon, training_mode=int(training))
    return Case(batch, inputs, function, constants, maybe_growing(draw, x=inputs["x"]))


@case("InstanceNormalization", "GroupNormalization")
def groups(draw: st.DrawFn, kind: str) -> Case:
    """Over space, for each channel or for groups of them."""
    n, space = draw(st.integers(1, 3)), draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    single = kind == "InstanceNormalization"
    count, channels = draw(st.integers(1, 3)), 1 if single else draw(st.integers(1, 3))
    space = space if channels * prod(space) > 1 else [2]
    epsilon = draw(EPSILONS)
    inputs = {
        "x": numbers_apart(draw, (n, count * channels, *space)),
        "scale": numbers(draw, (count * channels,)),
        "bias": numbers(draw, (count * channels,)),
    }

    def function(x: Any, scale: Any, bias: Any) -> Any:
        if single:
            return functional.instance_norm(x, weight=scale, bias=bias, eps=epsilon)
        return functional.group_norm(x, count, scale, bias, epsilon)

    attributes: dict[str, Any] = {} if single else {"num_groups": count}
    group = node(kind, list(inputs), epsilon=epsilon, **attributes)
    return Case(group, inputs, function, batch=maybe_growing(draw, x=inputs["x"]))


@case("LpNormalization")
def unit_length(draw: st.DrawFn, kind: str) -> Case:
    """Along any axis, by either norm."""
    x = numbers_apart(draw, draw(arrays.array_shapes(min_dims=1, max_dims=4, max_side=4)))
    p, axis = draw(st.sampled_from([1, 2])), axis_of(draw, x.ndim)
    normal = node(kind, ["x"], p=p, axis=axis)
    return Case(normal, {"x": x}, lambda x: functional.normalize(x, p, axis), batch=maybe_growing(draw, x=x))


@case("MeanVarianceNormalization")
def mean_and_variance(draw: st.DrawFn, kind: str) -> Case:
    """Over any axes."""
    shape = list(draw(IMAGES))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    shape[axes[0]] = max(shape[axes[0]], 2)
    x = numbers_apart(draw, shape)

    def function(x: Any) -> Any:
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return (x - mean) / (variance.sqrt() + 1e-9)

    return Case(node(kind, ["x"], axes=axes), {"x": x}, function, batch=maybe_growing(draw, x=x))


@case("LRN")
def neighbours(draw: st.DrawFn, kind: str) -> Case:
    """Over neighbouring channels, of which some may be missing (the runtime wants an odd number, and four axes)."""
    x = numbers(draw, draw(arrays.array_shapes(min_dims=4, max_dims=4, max_side=6)))
    options = [1, 3, 5], [0.5, 1e-4], [0.75, 0.5], [1.0, 2.0]
    size, alpha, beta, bias = (draw(st.sampled_from(values)) for values in options)
    local = node(kind, ["x"], size=size, alpha=alpha, beta=beta, bias=bias)
    return Case(
        local,
        {"x": x},
        lambda x: functional.local_response_norm(x, size, alpha, beta, bias),
        batch=maybe_growing(draw, x=x),
    )
