"""Poolings: over windows, and over whole images."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional

from tests.control_plane.compiler.autodiff.checking import node
from tests.parity.rules_case import Case, case, coarse_numbers, maybe_growing, numbers, numbers_apart
from tests.parity.rules_convolution import CONVOLUTIONS
from tests.parity.rules_windows import FORMS, SIDE_BY_SIDE, Windows, windows

MAXIMA: dict[int, Any] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
AVERAGES: dict[int, Any] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
NORMS: dict[int, Any] = {1: functional.lp_pool1d, 2: functional.lp_pool2d, 3: functional.lp_pool3d}
FIRST_MAXIMA: dict[int, Any] = {
    1: functional.adaptive_max_pool1d,
    2: functional.adaptive_max_pool2d,
    3: functional.adaptive_max_pool3d,
}
CHANNELS = st.integers(1, 3)
NEVER = -torch.inf


@case("MaxPool", "MaxPool of windows side by side")
def max_pool(draw: st.DrawFn, kind: str) -> Case:
    """Windows of all sorts, or of that which has a formulation of its own; over numbers of which some are equal."""
    grid = windows(draw, pooling=True, forms=FORMS if kind == "MaxPool" else [SIDE_BY_SIDE])
    x = coarse_numbers(draw, (draw(CHANNELS), draw(CHANNELS), *grid.image))

    def function(x: Any) -> Any:
        x = grid.extended(grid.padded(x, NEVER), NEVER)
        return MAXIMA[grid.rank](x, grid.kernel, grid.strides, 0, grid.dilations)

    return Case(node("MaxPool", ["x"], **grid.attributes), {"x": x}, function, batch=maybe_growing(draw, x=x))


@case("AveragePool")
def average_pool(draw: st.DrawFn, kind: str) -> Case:
    """The same of averages, of all places or of those on the image."""
    grid, counted = windows(draw, pooling=True), draw(st.booleans())
    x = numbers(draw, (draw(CHANNELS), draw(CHANNELS), *grid.image))

    def function(x: Any) -> Any:
        share = averages(grid, grid.extended(grid.padded(torch.ones_like(x), float(counted))))
        return averages(grid, grid.extended(grid.padded(x))) / share

    pooled = node(kind, ["x"], count_include_pad=int(counted), **grid.attributes)
    return Case(pooled, {"x": x}, function, batch=maybe_growing(draw, x=x))


@case("LpPool")
def lp_pool(draw: st.DrawFn, kind: str) -> Case:
    """The same of norms. PyTorch's are of what is positive, and know no holes."""
    grid, p = windows(draw, pooling=True), draw(st.integers(1, 3))
    x = numbers_apart(draw, (draw(CHANNELS), draw(CHANNELS), *grid.image))

    def function(x: Any) -> Any:
        x = grid.extended(grid.padded(x.abs()))
        if grid.dense:
            kernel, strides = (sizes if grid.rank > 1 else sizes[0] for sizes in (grid.kernel, grid.strides))
            return NORMS[grid.rank](x, p, kernel, strides)
        return (averages(grid, x**p) * prod(grid.kernel)) ** (1 / p)

    return Case(node(kind, ["x"], p=p, **grid.attributes), {"x": x}, function, batch=maybe_growing(draw, x=x))


def averages(grid: Windows, x: Any) -> Any:
    """Take the average of each window, by a convolution if there are holes in them."""
    if grid.dense:
        return AVERAGES[grid.rank](x, grid.kernel, grid.strides)
    channels = x.shape[1]
    weights = torch.full((channels, 1, *grid.kernel), 1 / prod(grid.kernel))
    return CONVOLUTIONS[grid.rank](x, weights, None, grid.strides, 0, grid.dilations, channels)


GLOBAL: dict[str, Callable[[Any], Any]] = {
    "GlobalAveragePool": lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda x: FIRST_MAXIMA[x.ndim - 2](x, 1),
}
IMAGES = arrays.array_shapes(min_dims=3, max_dims=5, max_side=4)


@case(*GLOBAL)
def of_whole_images(draw: st.DrawFn, kind: str) -> Case:
    """Of each channel, of numbers of which some are equal."""
    x = coarse_numbers(draw, draw(IMAGES))
    return Case(node(kind, ["x"]), {"x": x}, GLOBAL[kind], batch=maybe_growing(draw, x=x))


@case("GlobalLpPool")
def norm_of_whole_images(draw: st.DrawFn, kind: str) -> Case:
    """The norm of each channel."""
    x, p = numbers_apart(draw, draw(IMAGES)), draw(st.integers(1, 3))

    def function(x: Any) -> Any:
        return torch.linalg.vector_norm(x, p, tuple(range(2, x.ndim)), keepdim=True)

    return Case(node(kind, ["x"], p=p), {"x": x}, function, batch=maybe_growing(draw, x=x))
