"""Operators that read, or write, where indices say."""

from math import prod
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional

from tests.control_plane.compiler.autodiff.checking import Arrays, node
from tests.parity.rules_case import (
    SHAPES,
    Case,
    axis_of,
    case,
    indices,
    int64,
    maybe_growing,
    numbers,
    numbers_apart,
    unlike_indices,
)


@case("Gather")
def gather(draw: st.DrawFn, kind: str) -> Case:
    """Along any axis, by indices of any shape, constant or computed; or a table that is read by sentences."""
    if draw(st.booleans()):
        table = numbers(draw, (draw(st.integers(1, 6)), draw(st.integers(1, 4))))
        words = indices(draw, len(table), draw(arrays.array_shapes(min_dims=1, max_dims=2, max_side=4))) % len(table)
        batch = {"i": 0} if draw(st.booleans()) else {}
        inputs = {"x": table, "i": words}
        return Case(node(kind, ["x", "i"]), inputs, lambda x, i: functional.embedding(i, x), batch=batch)
    x = numbers(draw, draw(SHAPES))
    axis = axis_of(draw, x.ndim)
    size = x.shape[axis]
    places = indices(draw, size, draw(arrays.array_shapes(min_dims=0, max_dims=2, max_side=4)))
    constant = draw(st.booleans())

    def function(x: Any, i: Any = None) -> Any:
        chosen = (torch.tensor(places) if i is None else i) % size
        if not places.ndim:
            return x.select(axis, int(chosen))
        return x.index_select(axis, chosen.flatten()).unflatten(axis, places.shape)

    growing = maybe_growing(draw, x=x) if axis % x.ndim else {}
    read = node(kind, ["x", "i"], axis=axis)
    if constant:
        return Case(read, {"x": x}, function, {"i": places}, growing)
    return Case(read, {"x": x, "i": places}, function, batch=growing)


@case("GatherElements")
def gather_elements(draw: st.DrawFn, kind: str) -> Case:
    """One index for each number that is read."""
    x = numbers(draw, draw(SHAPES))
    axis = axis_of(draw, x.ndim)
    places = indices(draw, x.shape[axis], narrower(draw, x.shape, axis, 5))
    growing = {"x": 0, "i": 0} if draw(st.booleans()) else {}
    read = node(kind, ["x", "i"], axis=axis)
    return Case(read, {"x": x, "i": places}, lambda x, i: x.gather(axis, i % x.shape[axis]), batch=growing)


@case("GatherND")
def gather_nd(draw: st.DrawFn, kind: str) -> Case:
    """Tuples that index some axes, behind axes that go in step, before axes that are read whole."""
    side = st.integers(1, 3)
    batches, rest, between = (draw(st.lists(side, max_size=2)) for _ in range(3))
    indexed = draw(st.lists(side, min_size=1, max_size=2))
    inputs = {
        "x": numbers(draw, (*batches, *indexed, *rest)),
        "i": np.stack([indices(draw, size, (*batches, *between)) for size in indexed], -1),
    }

    def function(x: Any, i: Any) -> Any:
        rank = len(batches) + len(between)
        steps = [torch.arange(size).reshape(-1, *[1] * (rank - axis - 1)) for axis, size in enumerate(batches)]
        return x[(*steps, *i.unbind(-1))]

    growing = dict.fromkeys(["x", "i"] if batches else ["i"] if between else [], 0) if draw(st.booleans()) else {}
    return Case(node(kind, ["x", "i"], batch_dims=len(batches)), inputs, function, batch=growing)


@case("ScatterElements")
def scatter_elements(draw: st.DrawFn, kind: str) -> Case:
    """Written over, at places that differ; or added, at any."""
    x = numbers(draw, draw(SHAPES))
    axis, adds = axis_of(draw, x.ndim), draw(st.booleans())
    size = x.shape[axis]
    shape = narrower(draw, x.shape, axis, 5 if adds else size)
    if adds:
        places = indices(draw, size, shape)
    else:
        upright = [1] * x.ndim
        upright[axis] = shape[axis]
        places = np.broadcast_to(unlike_indices(draw, size, shape[axis]).reshape(upright), shape).copy()

    def function(x: Any, i: Any, u: Any) -> Any:
        return (torch.scatter_add if adds else torch.scatter)(x, axis, i % size, u)

    inputs = {"x": x, "i": places, "u": numbers(draw, shape)}
    growing = dict.fromkeys(inputs, 0) if axis % x.ndim and draw(st.booleans()) else {}
    written = node(kind, list(inputs), axis=axis, reduction="add" if adds else "none")
    return Case(written, inputs, function, batch=growing)


@case("ScatterND")
def scatter_nd(draw: st.DrawFn, kind: str) -> Case:
    """The same by tuples, which differ: onnxruntime loses some of the sums if they don't."""
    x = numbers(draw, draw(SHAPES))
    depth, adds = draw(st.integers(1, x.ndim)), draw(st.booleans())
    places = prod(x.shape[:depth])
    between = draw(arrays.array_shapes(min_dims=0, max_dims=2, max_side=2))
    between = between if prod(between) <= places else (1,)
    flat = unlike_indices(draw, places, prod(between)) % places
    tuples = np.stack(np.unravel_index(flat, x.shape[:depth]), -1).reshape(*between, depth)

    def function(x: Any, i: Any, u: Any) -> Any:
        return x.index_put(i.unbind(-1), u, accumulate=adds)

    inputs = {"x": x, "i": tuples, "u": numbers(draw, (*between, *x.shape[depth:]))}
    return Case(node(kind, list(inputs), reduction="add" if adds else "none"), inputs, function)


@case("TopK")
def top_k(draw: st.DrawFn, kind: str) -> Case:
    """The k greatest or least, in their order; k may be computed."""
    x = numbers_apart(draw, draw(SHAPES))
    axis, largest = axis_of(draw, x.ndim), draw(st.booleans())
    count: Arrays = {"k": int64(draw(st.integers(1, x.shape[axis])))}
    constant = draw(st.booleans())

    def function(x: Any, k: Any = count["k"]) -> Any:
        return x.topk(int(k[0]), axis, largest)[0]

    top = node(kind, ["x", "k"], ["y", "i"], axis=axis, largest=int(largest))
    growing = maybe_growing(draw, x=x)
    return Case(top, {"x": x} if constant else {"x": x, **count}, function, count if constant else {}, growing)


def narrower(draw: st.DrawFn, shape: tuple[int, ...], axis: int, most: int) -> list[int]:
    """Draw a shape that is nowhere larger, but has up to `most` numbers along an axis."""
    sides = [draw(st.integers(1, size)) for size in shape]
    sides[axis] = draw(st.integers(1, most))
    return sides
