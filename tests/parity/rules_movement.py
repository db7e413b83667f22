"""Operators that move numbers about, or repeat them."""

from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional

from tests.control_plane.compiler.autodiff.checking import Arrays, node
from tests.parity.rules_case import SHAPES, Case, axis_of, case, int64, maybe_growing, numbers, shapes_that_broadcast
from tests.parity.rules_windows import last_axis_first


@case("Reshape")
def reshape(draw: st.DrawFn, kind: str) -> Case:
    """Axes in another order, joined or not, with one size left out."""
    x = numbers(draw, draw(SHAPES))
    sizes = draw(st.permutations(x.shape))
    joined = draw(st.integers(0, len(sizes)))
    wanted = [*sizes[:joined], -1] if draw(st.booleans()) else list(sizes)
    example = prod(x.shape[1:])
    batch = maybe_growing(draw, x=x) if -1 in wanted and example % prod(sizes[:joined]) == 0 else {}
    return Case(node(kind, ["x", "s"]), {"x": x}, lambda x: x.reshape(wanted), {"s": int64(*wanted)}, batch)


@case("Flatten")
def flatten(draw: st.DrawFn, kind: str) -> Case:
    """To a matrix, from any axis on."""
    x = numbers(draw, draw(SHAPES))
    axis = draw(st.integers(-x.ndim, x.ndim))
    rows = prod(x.shape[:axis])
    growing = maybe_growing(draw, x=x)
    return Case(node(kind, ["x"], axis=axis), {"x": x}, lambda x: x.reshape(rows, -1), batch=growing)


@case("Squeeze")
def squeeze(draw: st.DrawFn, kind: str) -> Case:
    """Some of the axes whose size is 1, or all."""
    shape = [draw(st.sampled_from([1, 1, 2, 3])) for _ in range(draw(st.integers(1, 4)))]
    x = numbers(draw, shape)
    single = [axis for axis, size in enumerate(shape) if size == 1]
    chosen = draw(st.lists(st.sampled_from(single), unique=True)) if single else []
    axes: Arrays = {"axes": int64(*(axis - draw(st.sampled_from([0, x.ndim])) for axis in chosen))} if chosen else {}
    growing = {"x": 0} if shape[0] != 1 and draw(st.booleans()) else {}
    return Case(node(kind, ["x", *axes]), {"x": x}, lambda x: x.squeeze(chosen or single), axes, growing)


@case("Unsqueeze")
def unsqueeze(draw: st.DrawFn, kind: str) -> Case:
    """At any places, counted in the result."""
    x = numbers(draw, draw(SHAPES))
    rank = x.ndim + draw(st.integers(1, 2))
    places = sorted(draw(st.permutations(range(rank)))[: rank - x.ndim])
    axes = int64(*(place - draw(st.sampled_from([0, rank])) for place in places))

    def function(x: Any) -> Any:
        for place in places:
            x = x.unsqueeze(place)
        return x

    return Case(node(kind, ["x", "axes"]), {"x": x}, function, {"axes": axes}, maybe_growing(draw, x=x))


@case("Transpose")
def transpose(draw: st.DrawFn, kind: str) -> Case:
    """Any permutation; by default, the axes turned around."""
    x = numbers(draw, draw(SHAPES))
    order = draw(st.none() | st.permutations(range(x.ndim)))
    turned = node(kind, ["x"]) if order is None else node(kind, ["x"], perm=order)
    permutation = list(range(x.ndim))[::-1] if order is None else order
    return Case(turned, {"x": x}, lambda x: x.permute(permutation), batch=maybe_growing(draw, x=x))


@case("Concat")
def concat(draw: st.DrawFn, kind: str) -> Case:
    """Along any axis, also the one that grows."""
    shape = draw(SHAPES)
    axis = axis_of(draw, len(shape))
    inputs: dict[str, Any] = {}
    for place in range(draw(st.integers(1, 3))):
        sides = list(shape)
        sides[axis] = draw(st.integers(1, 3))
        inputs[f"x{place}"] = numbers(draw, sides)
    growing = dict.fromkeys(inputs, 0) if draw(st.booleans()) else {}
    return Case(node(kind, list(inputs), axis=axis), inputs, lambda *xs: torch.cat(xs, axis), batch=growing)


@case("Split")
def split(draw: st.DrawFn, kind: str) -> Case:
    """Into parts of given sizes, or equal ones of which the last may be smaller; nothing flows back from some."""
    shape = draw(SHAPES)
    axis = axis_of(draw, len(shape))
    count = draw(st.integers(1, 3))
    if draw(st.booleans()):
        sizes = draw(st.permutations([draw(st.integers(1, 3)), *(draw(st.integers(0, 3)) for _ in range(count - 1))]))
        constants: Arrays = {"s": int64(*sizes)}
    else:
        size = draw(st.integers(1, 3))
        last = draw(st.integers(max(1, size - count + 1), size))
        sizes, constants = [size] * (count - 1) + [last], {}
    names = [f"y{place}" for place in range(count)]
    used = [name for name in names if draw(st.booleans())] or names
    whole = list(shape)
    whole[axis] = sum(sizes)
    x = numbers(draw, whole)
    parted = node(kind, ["x", *constants], names, axis=axis, **({} if constants else {"num_outputs": count}))
    growing = {"x": 0} if axis % len(shape) and draw(st.booleans()) else {}

    def function(x: Any) -> Any:
        parts = dict(zip(names, x.split(sizes, axis), strict=True))
        found = [parts[name] for name in used]
        return found if len(found) > 1 else found[0]

    return Case(parted, {"x": x}, function, constants, growing, used)


@case("Slice")
def slices(draw: st.DrawFn, kind: str) -> Case:
    """Any start and end, in steps forwards or backwards, along any axes."""
    x = numbers(draw, draw(SHAPES))
    axes = draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True))
    taken = [draw(cuts(x.shape[axis])) for axis in axes]
    constants = {
        "starts": int64(*(cut[0] for cut in taken)),
        "ends": int64(*(cut[1] for cut in taken)),
        "axes": int64(*(axis - draw(st.sampled_from([0, x.ndim])) for axis in axes)),
        "steps": int64(*(cut[2] for cut in taken)),
    }
    places = {axis: list(range(x.shape[axis])[slice(*cut)]) for axis, cut in zip(axes, taken, strict=True)}

    def function(x: Any) -> Any:
        for axis, chosen in places.items():  # PyTorch's own slices can't go backwards
            x = x.index_select(axis, torch.tensor(chosen))
        return x

    return Case(node(kind, ["x", *constants]), {"x": x}, function, constants, maybe_growing(draw, x=x))


def cuts(size: int) -> st.SearchStrategy[tuple[int, int, int]]:
    """Draw a start, an end and a step that take something."""
    bounds = [*range(-size - 1, size + 2), -(2**63), 2**63 - 1]
    every = product(bounds, bounds, [1, 2, 3, -1, -2])
    return st.sampled_from([cut for cut in every if range(size)[slice(*cut)]])


PADDINGS = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


@case("Pad")
def pad(draw: st.DrawFn, kind: str) -> Case:
    """In every mode, as much on each side as the mode allows; less than nothing too, where it is constant."""
    mode = draw(st.sampled_from(list(PADDINGS)))
    shape = draw(arrays.array_shapes(min_dims=3, max_dims=4, max_side=4))
    sizes = shape if mode == "constant" else shape[2:]  # PyTorch has the others for the last axes only
    limits = [{"constant": 2, "edge": 2, "wrap": size, "reflect": size - 1}[mode] for size in sizes]
    lowest = [-((size - 1) // 2) if mode == "constant" else 0 for size in sizes]
    befores, afters = (
        [draw(st.integers(low, high)) for low, high in zip(lowest, limits, strict=True)] for _ in range(2)
    )
    constants = {"pads": int64(*befores, *afters), "axes": int64(*range(len(shape) - len(sizes), len(shape)))}
    value = draw(st.sampled_from([0.0, 3.5])) if mode == "constant" else None
    constants["value"] = np.array(value or 0, np.float32)
    x = numbers(draw, shape)
    growing = maybe_growing(draw, x=x) if mode != "constant" or befores[0] == afters[0] == 0 else {}

    def function(x: Any) -> Any:
        return functional.pad(x, last_axis_first(befores, afters), PADDINGS[mode], value)

    return Case(node(kind, ["x", "pads", "value", "axes"], mode=mode), {"x": x}, function, constants, growing)


@case("Expand")
def expand(draw: st.DrawFn, kind: str) -> Case:
    """To any shape that broadcasts with it: either may be the longer."""
    shape, wanted = shapes_that_broadcast(draw, 2)
    x, result = numbers(draw, shape), np.broadcast_shapes(shape, wanted)
    return Case(node(kind, ["x", "s"]), {"x": x}, lambda x: x.expand(result), {"s": int64(*wanted)})


@case("Tile")
def tile(draw: st.DrawFn, kind: str) -> Case:
    """Copies along any axes, as many as a constant or an input says."""
    x = numbers(draw, draw(SHAPES))
    repeats = int64(*(draw(st.integers(1, 3)) for _ in x.shape))
    growing = maybe_growing(draw, x=x)
    if draw(st.booleans()):
        return Case(node(kind, ["x", "r"]), {"x": x}, lambda x: x.tile(*repeats), {"r": repeats}, growing)
    return Case(node(kind, ["x", "r"]), {"x": x, "r": repeats}, lambda x, r: x.tile(*r.tolist()), batch=growing)


@case("DepthToSpace")
def depth_to_space(draw: st.DrawFn, kind: str) -> Case:
    """In the order CRD PyTorch's; in the order DCR the same, of channels that are sorted otherwise."""
    side, mode = draw(st.integers(1, 3)), draw(st.sampled_from(["CRD", "DCR"]))
    n, deep, height, width = draw(arrays.array_shapes(min_dims=4, max_dims=4, max_side=3))
    x = numbers(draw, (n, deep * side**2, height, width))

    def function(x: Any) -> Any:
        if mode == "DCR":
            x = x.unflatten(1, (side**2, deep)).transpose(1, 2).flatten(1, 2)
        return functional.pixel_shuffle(x, side)

    return Case(node(kind, ["x"], blocksize=side, mode=mode), {"x": x}, function, batch=maybe_growing(draw, x=x))


@case("SpaceToDepth")
def space_to_depth(draw: st.DrawFn, kind: str) -> Case:
    """PyTorch's, with the channels sorted otherwise."""
    side = draw(st.integers(1, 3))
    n, deep, height, width = draw(arrays.array_shapes(min_dims=4, max_dims=4, max_side=3))
    x = numbers(draw, (n, deep, height * side, width * side))

    def function(x: Any) -> Any:
        return functional.pixel_unshuffle(x, side).unflatten(1, (deep, side**2)).transpose(1, 2).flatten(1, 2)

    return Case(node(kind, ["x"], blocksize=side), {"x": x}, function, batch=maybe_growing(draw, x=x))


@case("Trilu")
def trilu(draw: st.DrawFn, kind: str) -> Case:
    """Either triangle, from any diagonal on."""
    x = numbers(draw, draw(arrays.array_shapes(min_dims=2, max_dims=4, max_side=4)))
    upper, k = draw(st.booleans()), draw(st.integers(-3, 3))
    function = torch.triu if upper else torch.tril
    triangle = node(kind, ["x", "k"], upper=int(upper))
    return Case(triangle, {"x": x}, lambda x: function(x, k), {"k": np.array(k)}, maybe_growing(draw, x=x))
