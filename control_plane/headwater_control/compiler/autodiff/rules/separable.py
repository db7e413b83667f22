"""Operators that are a matrix along each axis, y = M·x: what flows back is Mᵀ·dy along it.

The matrix of a linear operator is what the operator makes of the identity matrix. So it is never out of step with the
forward pass, however a runtime rounds; and the runtime folds it into a constant as it loads the graph.
"""

import numpy as np

from headwater_control.compiler.autodiff.emitter import Emitter


def unit(g: Emitter, size: int, like: str) -> str:
    """Name the identity matrix, in the dtype of a forward tensor."""
    return g.constant(np.eye(size, dtype=g.type(like).dtype))


def back_along(g: Emitter, grad: str, axis: int, rank: int, matrix: str) -> str:
    """Multiply a gradient, along one of its axes, with the transpose of a matrix [outputs, inputs]."""
    if axis == rank - 1:
        return g.op("MatMul", grad, matrix)
    turned = g.transpose(matrix, (1, 0))
    if axis == rank - 2:
        return g.op("MatMul", turned, grad)
    order = list(range(rank))
    order[axis], order[-2] = order[-2], order[axis]
    return g.transpose(g.op("MatMul", turned, g.transpose(grad, order)), order)
