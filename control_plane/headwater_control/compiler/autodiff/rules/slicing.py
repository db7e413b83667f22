"""Slice, by constant places."""

from collections.abc import Iterator

import numpy as np

from headwater_control.compiler.autodiff.rules.movement import size
from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule

_BEFORE_THE_FIRST = np.iinfo(np.int64).min  # where a slice ends that goes back to the start


@rule("Slice")
def slices(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy where it was taken from, and 0 elsewhere."""
    axes, befores, afters = [], [], []
    for axis, taken in _taken(n, g.type(n.x).rank):
        if taken.step < 0:
            dy = _flipped(g, dy, axis)
        if abs(taken.step) > 1:
            dy = _spread(g, n, dy, axis, abs(taken.step))
        before, after = _room(g, n.x, axis, taken)
        axes.append(axis)
        befores.append(before)
        afters.append(after)
    return (g.op("Pad", dy, g.op("Concat", *befores, *afters, axis=0), "", g.constant(axes)),)


def _taken(n: Node, rank: int) -> Iterator[tuple[int, slice]]:
    """Say what is taken along which axes."""
    starts, ends, axes, steps = (n.value(place) for place in (1, 2, 3, 4))
    assert starts is not None
    assert ends is not None
    axes = np.arange(len(starts)) if axes is None else axes % rank
    steps = np.ones_like(starts) if steps is None else steps
    for axis, *taken in zip(axes.tolist(), starts.tolist(), ends.tolist(), steps.tolist(), strict=True):
        yield axis, slice(*taken)  # whose rules are ONNX's


def _room(g: Emitter, x: str, axis: int, taken: slice) -> tuple[str, str]:
    """Name how much of an axis lies before, and how much behind, the steps that a slice makes."""
    known = g.type(x).dims[axis]
    if known is not None:
        places = range(known)[taken]
        before = min(places, default=0)
        return g.constant([before]), g.constant([known - before - len(places) * abs(taken.step)])
    whole = g.op("Range", g.constant(0), g.op("Squeeze", size(g, x, axis)), g.constant(1))
    bounds = (g.constant([bound]) for bound in (taken.start, taken.stop, 0, taken.step))
    found = g.op("Slice", whole, *bounds)
    lowest = g.op("ReduceMin", found, keepdims=1)
    length = g.mul(g.op("Shape", found), g.constant([abs(taken.step)]))
    return lowest, g.sub(g.sub(size(g, x, axis), lowest), length)


def _flipped(g: Emitter, grad: str, axis: int) -> str:
    """Turn an axis around."""
    return g.op("Slice", grad, g.constant([-1]), g.constant([_BEFORE_THE_FIRST]), g.constant([axis]), g.constant([-1]))


def _spread(g: Emitter, n: Node, grad: str, axis: int, step: int) -> str:
    """Put zeros behind each place of an axis, step − 1 of them.

    By Concat, which copies; a Pad of an axis of size 1 took 3–12 times as long.
    """
    shape = g.op("Shape", grad)
    gaps = g.unsqueeze(g.op("Expand", g.number(0, n.x), shape), (axis + 1,))
    apart = g.op("Concat", g.unsqueeze(grad, (axis + 1,)), *[gaps] * (step - 1), axis=axis + 1)
    longer = np.ones(g.type(n.x).rank, np.int64)
    longer[axis] = step
    return g.op("Reshape", apart, g.mul(shape, g.constant(longer)), allowzero=1)
