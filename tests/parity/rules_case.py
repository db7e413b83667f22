"""What a rule is held against PyTorch by: a node, what it gets, and the function of PyTorch's that is the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.control_plane.compiler.autodiff.checking import Array, Arrays

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=4)


@dataclass(frozen=True)
class Case:
    """One form of an operator, on some numbers."""

    node: onnx.NodeProto
    inputs: Arrays  # what is float gets a gradient
    function: Callable[..., Any]  # of tensors, in the order of the inputs; gives a tensor for each of `outputs`
    constants: Arrays = field(default_factory=dict)
    batch: Mapping[str, int] = field(default_factory=dict)  # the axis of an input that grows with the batch
    outputs: Sequence[str] = ("y",)  # from which something flows back


TABLE: dict[str, st.SearchStrategy[Case]] = {}  # by operator


def case(*operators: str) -> Callable[[Callable[..., Case]], Callable[..., Case]]:
    """Register a function `(draw, operator) -> Case` for operators, or for forms of them: words behind the operator."""

    def register(make: Callable[..., Case]) -> Callable[..., Case]:
        for operator in operators:
            assert operator not in TABLE, operator
            TABLE[operator] = st.composite(make)(operator)
        return make

    return register


def numbers(draw: st.DrawFn, shape: Sequence[int], low: float = -2, high: float = 2) -> Array:
    """Draw float32 between two bounds."""
    return np.asarray(_random(draw).uniform(low, high, shape), np.float32)


def coarse_numbers(draw: st.DrawFn, shape: Sequence[int]) -> Array:
    """Draw float32 of which many are equal."""
    return np.asarray(_random(draw).integers(-2, 3, shape), np.float32)


def numbers_apart(draw: st.DrawFn, shape: Sequence[int]) -> Array:
    """Draw float32 of which no two, nor any and 0, are closer than 1/8."""
    count = int(np.prod(shape))
    return np.asarray((_random(draw).permutation(count) - count // 2 + 0.5).reshape(shape) / 4, np.float32)


def indices(draw: st.DrawFn, size: int, shape: Sequence[int]) -> Array:
    """Draw indices of an axis, from either end; some will repeat."""
    return np.asarray(_random(draw).integers(-size, size, shape), np.int64)


def unlike_indices(draw: st.DrawFn, size: int, count: int) -> Array:
    """Draw indices of an axis, from either end, that all mean different places."""
    random = _random(draw)
    return np.asarray(random.permutation(size)[:count] - size * random.integers(0, 2, count), np.int64)


def shapes_that_broadcast(draw: st.DrawFn, count: int) -> Sequence[tuple[int, ...]]:
    """Draw some, of any rank, with sides of 1 among them."""
    broadcastable = arrays.mutually_broadcastable_shapes(num_shapes=count, min_dims=0, max_dims=4, max_side=3)
    return draw(broadcastable).input_shapes


def axis_of(draw: st.DrawFn, rank: int) -> int:
    """Draw an axis, counted from either end."""
    return draw(st.integers(-rank, rank - 1))


def maybe_growing(draw: st.DrawFn, **inputs: Array) -> dict[str, int]:
    """Let the first axis of what is broadcast together grow with the batch, or not."""
    shape = np.broadcast_shapes(*(values.shape for values in inputs.values()))
    if not shape or draw(st.booleans()):
        return {}
    return {name: 0 for name, values in inputs.items() if values.ndim == len(shape) and values.shape[0] == shape[0]}


def int64(*values: int) -> Array:
    """Make a vector of whole numbers."""
    return np.array(values, np.int64)


def _random(draw: st.DrawFn) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 999)))
