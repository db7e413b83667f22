"""Reductions over axes, and the running sum."""

from collections.abc import Sequence
from math import prod

import numpy as np

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule


@rule("ReduceSum")
def reduce_sum(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy, for each that was summed."""
    return (_spread(g, n, _kept(g, n, dy)),)


@rule("ReduceMean")
def reduce_mean(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/k, for each of the k that were averaged."""
    return (_spread(g, n, g.div(_kept(g, n, dy), count(g, n.x, _axes(g, n)))),)


@rule("ReduceMax", "ReduceMin")
def reduce_extremum(g: Emitter, n: Node, dy: str) -> Gradients:
    """Flow to whichever is the extremum; equal ones share, as a subgradient may (PyTorch's amax does the same)."""
    chosen = g.mask(g.op("Equal", n.x, _kept(g, n, n.y)), n.x)
    ties = g.reduce_sum(chosen, _axes(g, n), keepdims=True)
    return (g.mul(chosen, g.div(_kept(g, n, dy), ties)),)


@rule("ReduceProd")
def reduce_prod(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy·(the product of the others), zeros among them or not."""
    axes, zero, one = _axes(g, n), g.number(0, n.x), g.number(1, n.x)
    is_zero = g.op("Equal", n.x, zero)
    zeros = g.mask(is_zero, n.x)
    other_zeros = g.sub(g.reduce_sum(zeros, axes, keepdims=True), zeros)
    factors = g.op("Where", is_zero, one, n.x)
    product = g.op("ReduceProd", factors, g.constant(np.array(axes, np.int64))) if axes else factors
    others = g.div(g.mul(_kept(g, n, dy), product), factors)
    return (g.mul(others, g.mask(g.op("Equal", other_zeros, zero), n.x)),)


@rule("ReduceL1")
def reduce_l1(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = sign(x)·dy."""
    return (g.mul(g.op("Sign", n.x), _kept(g, n, dy)),)


@rule("ReduceL2")
def reduce_l2(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = x·dy/y, 0 where all are 0."""
    norm = g.op("Where", g.op("Equal", n.y, g.number(0, n.y)), g.number(1, n.y), n.y)
    return (g.mul(n.x, _kept(g, n, g.div(dy, norm))),)


@rule("ReduceSumSquare")
def reduce_sum_square(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = 2x·dy."""
    return (g.mul(n.x, _kept(g, n, g.mul(dy, g.number(2, n.x)))),)


@rule("ReduceLogSum")
def reduce_log_sum(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = ln Σx: dx = dy/Σx = dy·e^(−y)."""
    return (_spread(g, n, _kept(g, n, g.mul(dy, g.op("Exp", g.neg(n.y))))),)


@rule("ReduceLogSumExp")
def reduce_log_sum_exp(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = e^(x − y)·dy."""
    return (g.mul(g.op("Exp", g.sub(n.x, _kept(g, n, n.y))), _kept(g, n, dy)),)


@rule("CumSum")
def cumulated_sum(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = the sum of dy over all that x was added to: the running sum from the other end."""
    reverse, exclusive = n.attribute("reverse", 0), n.attribute("exclusive", 0)
    return (g.op("CumSum", dy, n.inputs[1], reverse=1 - reverse, exclusive=exclusive),)


def count(g: Emitter, name: str, axes: Sequence[int]) -> str:
    """Count what a reduction of a forward tensor over axes takes together, in its dtype."""
    sizes = [g.type(name).dims[axis] for axis in axes]
    if None not in sizes:
        return g.number(prod(size for size in sizes if size is not None), name)
    picked = g.op("Gather", g.shape(name), g.constant(np.array(axes, np.int64)))
    return g.mask(g.op("ReduceProd", picked, keepdims=0), name)


def _axes(g: Emitter, n: Node) -> tuple[int, ...]:
    """Give the axes that are reduced, none of them negative."""
    kind, given = g.type(n.x), n.value(1)
    if given is not None and given.size:
        return tuple(sorted(kind.axis(int(axis)) for axis in given.reshape(-1)))
    return () if n.attribute("noop_with_empty_axes", 0) else tuple(range(kind.rank))


def _kept(g: Emitter, n: Node, reduced: str) -> str:
    """Give what has the output's shape its reduced axes back, with size 1: then it broadcasts with x."""
    axes = _axes(g, n)
    return reduced if n.attribute("keepdims", 1) or not axes else g.unsqueeze(reduced, axes)


def _spread(g: Emitter, n: Node, kept: str) -> str:
    """Repeat along the reduced axes: to sizes that are known, so that x need not be kept, unless one is the batch's."""
    axes, dims = _axes(g, n), g.type(n.x).dims
    sizes = [size if axis in axes else 1 for axis, size in enumerate(dims)]
    if None in sizes:
        return g.op("Expand", kept, g.shape(n.x))
    return g.op("Expand", kept, g.constant(np.array(sizes, np.int64)))
