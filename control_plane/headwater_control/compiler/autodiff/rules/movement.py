"""Operators that move numbers about, or repeat them, and change none."""

import numpy as np

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule
from headwater_control.compiler.autodiff.rules.separable import back_along, unit


def zeros(g: Emitter, like: str) -> str:
    """Name zeros in the shape and dtype of a forward tensor."""
    return g.op("Expand", g.number(0, like), g.shape(like))


def size(g: Emitter, name: str, axis: int) -> str:
    """Name a vector of one number: the size of an axis of a forward tensor."""
    known = g.type(name).dims[axis]
    return g.constant([known]) if known is not None else g.op("Gather", g.shape(name), g.constant([axis]))


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy, in the shape of x."""
    return (g.reshape_like(dy, n.x),)


@rule("Transpose")
def transpose(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy, with the axes put back."""
    order = n.attribute("perm", range(g.type(n.x).rank)[::-1])
    return (g.transpose(dy, np.argsort(order).tolist()),)


@rule("Concat")
def concat(g: Emitter, n: Node, dy: str) -> Gradients:
    """Each input gets its piece of dy."""
    axis = g.type(n.y).axis(n.attributes["axis"])
    sizes = g.op("Concat", *(size(g, name, axis) for name in n.inputs), axis=0)
    return g.ops("Split", len(n.inputs), dy, sizes, axis=axis)


@rule("Split")
def split(g: Emitter, n: Node, *dy: str) -> Gradients:
    """dx = the pieces, joined; zeros for one from which nothing flows."""
    pieces = [grad or zeros(g, name) for grad, name in zip(dy, n.outputs, strict=True)]
    return (g.op("Concat", *pieces, axis=n.attribute("axis", 0)),)


@rule("Pad")
def pad(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy, less what was added (and with zeros for what a negative pad took away).

    What was copied from elsewhere ("reflect", "edge", "wrap") flows back there, axis by axis. Sums of slices do the
    same, and took 2.5–6 times as long.
    """
    mode = n.attribute("mode", "constant")
    if mode == "constant":
        return (g.op("Pad", dy, g.neg(n.inputs[1]), "", n.input(3)),)
    kind = g.type(n.x)
    pads, axes = n.value(1), n.value(3)
    assert pads is not None
    axes = np.arange(kind.rank) if axes is None else axes
    for axis, before, after in zip(axes.tolist(), *pads.reshape(2, -1).tolist(), strict=True):
        if before or after:
            matrix = g.op("Pad", unit(g, kind.size(axis), n.x), g.constant([before, 0, after, 0]), mode=mode)
            dy = back_along(g, dy, kind.axis(axis), kind.rank, matrix)
    return (dy,)


@rule("Expand")
def expand(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = Σ dy over what was repeated."""
    return (g.unbroadcast(dy, g.type(n.y).dims, g.type(n.x).dims),)


@rule("Tile")
def tile(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = Σ dy over the copies: each axis of dy is copies × size."""
    rank = g.type(n.x).rank
    repeats = n.constants.get(n.inputs[1])
    copies = [2 * axis for axis in range(rank) if repeats is None or repeats[axis] != 1]  # to sum one is not free
    pairs = g.op("Concat", g.unsqueeze(n.inputs[1], (1,)), g.unsqueeze(g.shape(n.x), (1,)), axis=1)
    apart = g.op("Reshape", dy, g.reshape(pairs, (None,)))
    return (g.reshape_like(g.reduce_sum(apart, copies, keepdims=False), n.x),)


@rule("SpaceToDepth")
def space_to_depth(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = DepthToSpace(dy), which is its inverse in the mode DCR."""
    return (g.op("DepthToSpace", dy, blocksize=n.attributes["blocksize"]),)


@rule("DepthToSpace")
def depth_to_space(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = the inverse of dy; in the mode CRD a block [b, b] of each channel goes back behind it."""
    side = n.attributes["blocksize"]
    if n.attribute("mode", "DCR") == "DCR":
        return (g.op("SpaceToDepth", dy, blocksize=side),)
    batch, deep, height, width = g.type(n.x).dims
    assert deep is not None
    blocks = g.reshape(dy, (batch, deep // side**2, height, side, width, side))
    return (g.reshape_like(g.transpose(blocks, (0, 1, 3, 5, 2, 4)), n.x),)


@rule("Trilu")
def trilu(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = the same triangle of dy."""
    return (g.op("Trilu", dy, n.input(1), upper=n.attribute("upper", 1)),)
