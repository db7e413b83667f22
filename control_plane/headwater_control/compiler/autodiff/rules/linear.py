"""Matrix products."""

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule


@rule("Gemm")
def gemm(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = α·a·b + β·c, with a or b transposed: da = α·dy·bᵀ, db = α·aᵀ·dy, dc = β·dy."""
    a, b = n.inputs[:2]
    alpha, beta = n.attribute("alpha", 1.0), n.attribute("beta", 1.0)
    turned_a, turned_b = n.attribute("transA", 0), n.attribute("transB", 0)
    if turned_a:
        da = g.op("Gemm", b, dy, alpha=alpha, transA=turned_b, transB=1)
    else:
        da = g.op("Gemm", dy, b, alpha=alpha, transB=1 - turned_b)
    if turned_b:
        db = g.op("Gemm", dy, a, alpha=alpha, transA=1, transB=turned_a)
    else:
        db = g.op("Gemm", a, dy, alpha=alpha, transA=1 - turned_a)
    if not n.input(2):
        return da, db
    dc = dy if beta == 1 else g.mul(dy, g.number(beta, n.y))
    return da, db, g.unbroadcast(dc, g.type(n.y).dims, g.type(n.inputs[2]).dims, n.y)


@rule("MatMul")
def matmul(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = a·b over the last two axes: da = dy·bᵀ, db = aᵀ·dy, summed over what was broadcast.

    A matrix that every example is multiplied with gets its gradient by one Gemm over all of them.
    """
    a, b = n.inputs
    type_a, type_b, type_y = g.type(a), g.type(b), g.type(n.y)
    if type_a.rank == 1 or type_b.rank == 1:
        return _with_vector(g, n, dy)
    if type_b.rank == 2:
        return _by_one_matrix(g, n, dy)
    batch = type_y.dims[:-2]
    da = g.op("MatMul", dy, _turned(g, b, type_b.rank))
    db = g.op("MatMul", _turned(g, a, type_a.rank), dy)
    return (
        g.unbroadcast(da, (*batch, *type_a.dims[-2:]), type_a.dims),
        g.unbroadcast(db, (*batch, *type_b.dims[-2:]), type_b.dims),
    )


def _by_one_matrix(g: Emitter, n: Node, dy: str) -> Gradients:
    """a [… , k] · b [k, m]: both gradients are products of two matrices."""
    a, b = n.inputs
    k, m = g.type(b).dims
    if g.type(a).rank == 2:
        return g.op("Gemm", dy, b, transB=1), g.op("Gemm", a, dy, transA=1)
    rows_dy = g.reshape(dy, (None, m))
    da = g.reshape_like(g.op("Gemm", rows_dy, b, transB=1), a)
    return da, g.op("Gemm", g.reshape(a, (None, k)), rows_dy, transA=1)


def _with_vector(g: Emitter, n: Node, dy: str) -> Gradients:
    """A vector is a matrix with one row (on the left) or one column (on the right)."""
    a, b = n.inputs
    type_a, type_b = g.type(a), g.type(b)
    row, column = type_a.rank == 1, type_b.rank == 1
    left = g.unsqueeze(a, (0,)) if row else a
    right = g.unsqueeze(b, (1,)) if column else b
    left_dims = (1, *type_a.dims) if row else type_a.dims
    right_dims = (*type_b.dims, 1) if column else type_b.dims
    if row and column:
        dy = g.reshape(dy, (1, 1))
    elif row:
        dy = g.unsqueeze(dy, (-2,))
    elif column:
        dy = g.unsqueeze(dy, (-1,))
    batch = max(left_dims[:-2], right_dims[:-2], key=len)
    da = g.op("MatMul", dy, _turned(g, right, len(right_dims)))
    db = g.op("MatMul", _turned(g, left, len(left_dims)), dy)
    da = g.unbroadcast(da, (*batch, *left_dims[-2:]), left_dims)
    db = g.unbroadcast(db, (*batch, *right_dims[-2:]), right_dims)
    return g.reshape(da, type_a.dims) if row else da, g.reshape(db, type_b.dims) if column else db


def _turned(g: Emitter, name: str, rank: int) -> str:
    """Swap the last two axes."""
    return g.transpose(name, [*range(rank - 2), rank - 1, rank - 2])
