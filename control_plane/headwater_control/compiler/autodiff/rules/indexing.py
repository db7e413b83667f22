"""Operators that read, or write, where indices say. All indices may be computed, and may count from the end.

Gradients that meet in one place are added by ScatterElements. Never by ScatterND with reduction=add: onnxruntime (1.19
to 1.31) runs that in parallel without a lock, and loses summands where indices repeat.
"""

from math import prod

import numpy as np

from headwater_control.compiler.autodiff.rules.movement import size, zeros
from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule
from headwater_control.compiler.autodiff.types import Dims


@rule("Gather")
def gather(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx[…, i, …] = Σ dy over the places where i was read."""
    kind, indices = g.type(n.x), n.inputs[1]
    axis = kind.axis(n.attribute("axis", 0))
    length, rank = kind.dims[axis], g.type(indices).rank
    if indices in n.constants and rank == 0 and length is not None:
        return (_put(g, dy, axis, int(n.constants[indices]) % length, length),)
    if rank != 1:
        rows = g.op("Concat", _sizes(g, n.x, 0, axis), g.constant([-1]), _sizes(g, n.x, axis + 1, kind.rank), axis=0)
        dy = g.op("Reshape", dy, rows)
    upright = g.reshape(indices, (*[1] * axis, None, *[1] * (kind.rank - axis - 1)))
    return (_added(g, zeros(g, n.x), g.op("Expand", upright, g.op("Shape", dy)), dy, axis),)


def _put(g: Emitter, grad: str, axis: int, place: int, length: int) -> str:
    """Insert an axis in which a gradient lies at one place, among zeros."""
    pads = g.constant([place, length - 1 - place])
    return g.op("Pad", g.unsqueeze(grad, (axis,)), pads, "", g.constant([axis]))


@rule("GatherElements")
def gather_elements(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx[…, i, …] = Σ dy over the places where i was read."""
    return (_added(g, zeros(g, n.x), n.inputs[1], dy, n.attribute("axis", 0)),)


@rule("GatherND")
def gather_nd(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx[i] = Σ dy over the places where the tuple i was read; x is seen as a matrix, with a row for each tuple."""
    indices = g.type(n.inputs[1])
    numbers, depth = _row_numbers(g, n)
    into = g.reshape(zeros(g, n.x), _as_matrix(n, g.type(n.x).dims, depth))
    rows = g.reshape(dy, _as_matrix(n, g.type(n.y).dims, indices.rank - 1))
    return (g.reshape_like(_added(g, into, g.op("Expand", numbers, g.op("Shape", rows)), rows, 0), n.x),)


def _row_numbers(g: Emitter, n: Node) -> tuple[str, int]:
    """Name [tuples, 1]: the row that each tuple of a GatherND means; and say how many axes of x make up the rows."""
    x, indices = n.inputs
    batches, depth = n.attribute("batch_dims", 0), g.type(indices).size(-1)
    rank = g.type(indices).rank - 1
    places = [_iota(g, x, axis, rank - axis) for axis in range(batches)]
    wrapped = g.op("Mod", indices, _sizes(g, x, batches, batches + depth))
    places += [g.op("Gather", wrapped, g.constant(place), axis=-1) for place in range(depth)]
    number = places[0]
    for axis, place in enumerate(places[1:], start=1):
        number = g.add(g.mul(number, size(g, x, axis)), place)
    return g.reshape(number, (None, 1)), len(places)


def _iota(g: Emitter, x: str, axis: int, rank: int) -> str:
    """Name 0, 1, 2, … along an axis of x, that has `rank` − 1 axes of size 1 behind it."""
    numbers = g.op("Range", g.constant(0), g.op("Squeeze", size(g, x, axis)), g.constant(1))
    return g.reshape(numbers, (None, *[1] * (rank - 1)))


def _as_matrix(n: Node, dims: Dims, rows: int) -> Dims:
    """Merge the first axes into the rows of a matrix, and the others into its columns; None: what is left."""
    before, behind = dims[:rows], dims[rows:]
    if None not in behind:
        return None, prod(size for size in behind if size is not None)
    if None not in before:
        return prod(size for size in before if size is not None), None
    raise n.refused("the batch grows both what it indexes and what it reads: export it with one batch axis")


@rule("ScatterElements")
def scatter_elements(g: Emitter, n: Node, dy: str) -> Gradients:
    """d(data) = dy, 0 where it was overwritten; d(updates) = dy where they were written."""
    axis = n.attribute("axis", 0)
    return _kept(g, n, dy, axis=axis), None, g.op("GatherElements", dy, n.inputs[1], axis=axis)


@rule("ScatterND")
def scatter_nd(g: Emitter, n: Node, dy: str) -> Gradients:
    """d(data) = dy, 0 where it was overwritten; d(updates) = dy where they were written."""
    return _kept(g, n, dy), None, g.op("GatherND", dy, n.inputs[1])


def _kept(g: Emitter, n: Node, dy: str, **attributes: int) -> str:
    """Give what flows back to the data that updates were written into, or added to."""
    reduction = n.attribute("reduction", "none")
    if reduction == "add":
        return dy
    if reduction != "none":
        raise n.refused(f"of its reductions only 'none' and 'add' have a rule, not {reduction!r}")
    return g.op(n.kind, dy, n.inputs[1], zeros(g, n.inputs[2]), **attributes)


@rule("TopK")
def top_k(g: Emitter, n: Node, dy: str, _: str) -> Gradients:
    """dx = dy at the places of the k greatest, and 0 elsewhere."""
    return (g.op("ScatterElements", zeros(g, n.x), n.outputs[1], dy, axis=n.attribute("axis", -1)),)


def _added(g: Emitter, zero: str, indices: str, grad: str, axis: int) -> str:
    """Add, into zeros, each number of a gradient at its index along an axis."""
    return g.op("ScatterElements", zero, indices, grad, axis=axis, reduction="add")


def _sizes(g: Emitter, name: str, start: int, stop: int) -> str:
    """Name a vector of the sizes of some axes of a forward tensor."""
    dims = g.type(name).dims[start:stop]
    if None not in dims:
        return g.constant(np.array(dims, np.int64))
    return g.op("Slice", g.shape(name), g.constant([start]), g.constant([stop]))
