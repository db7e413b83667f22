"""Reductions over axes, and the running sum."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from tests.control_plane.compiler.autodiff.checking import Arrays, node
from tests.parity.rules_case import SHAPES, Case, axis_of, case, coarse_numbers, int64, maybe_growing, numbers


def product(x: Any, axes: list[int], keepdims: bool) -> Any:
    """Give the product over axes, one after the other: PyTorch has it over one."""
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdims)
    return x


REDUCTIONS: dict[str, Callable[[Any, list[int], bool], Any]] = {
    "ReduceL1": lambda x, axes, keepdims: torch.linalg.vector_norm(x, 1, axes, keepdims),
    "ReduceL2": lambda x, axes, keepdims: torch.linalg.vector_norm(x, 2, axes, keepdims),
    "ReduceLogSum": lambda x, axes, keepdims: x.sum(axes, keepdims).log(),
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceMax": torch.amax,  # which, like the rule, lets equal ones share
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceProd": product,
    "ReduceSum": torch.sum,
    "ReduceSumSquare": lambda x, axes, keepdims: x.square().sum(axes, keepdims),
}


@case(*REDUCTIONS)
def reduction(draw: st.DrawFn, kind: str) -> Case:
    """Over some axes, or over all, of numbers of which some are equal, or 0."""
    shape = draw(SHAPES)
    x = numbers(draw, shape, 0.2, 2) if kind == "ReduceLogSum" else coarse_numbers(draw, shape)
    rank, keepdims = x.ndim, draw(st.booleans())
    axes = draw(st.lists(st.integers(0, rank - 1), unique=True, max_size=rank))
    constants: Arrays = {"axes": int64(*(axis - draw(st.sampled_from([0, rank])) for axis in axes))}
    if not axes and draw(st.booleans()):
        constants = {}
    reduced = node(kind, ["x", *constants], keepdims=int(keepdims))
    everything = list(range(rank))
    return Case(
        reduced,
        {"x": x},
        lambda x: REDUCTIONS[kind](x, axes or everything, keepdims),
        constants,
        maybe_growing(draw, x=x),
    )


@case("CumSum")
def cumulated_sum(draw: st.DrawFn, kind: str) -> Case:
    """From either end, with or without oneself."""
    x = numbers(draw, draw(SHAPES))
    axis = axis_of(draw, x.ndim)
    reverse, exclusive = draw(st.booleans()), draw(st.booleans())

    def function(x: Any) -> Any:
        x = x.flip(axis) if reverse else x
        y = x.cumsum(axis) - x if exclusive else x.cumsum(axis)
        return y.flip(axis) if reverse else y

    summed = node(kind, ["x", "axis"], reverse=int(reverse), exclusive=int(exclusive))
    return Case(summed, {"x": x}, function, {"axis": int64(axis)}, maybe_growing(draw, x=x))
