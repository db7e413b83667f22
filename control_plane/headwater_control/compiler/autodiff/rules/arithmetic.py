"""Elementwise arithmetic, and what is made of it."""

import numpy as np

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule


@rule("Add", "Sum", broadcasts=True)
def add(g: Emitter, n: Node, dy: str) -> Gradients:
    """d(a + b + …) = da + db + …."""
    return [dy] * len(n.inputs)


@rule("Sub", broadcasts=True)
def sub(g: Emitter, n: Node, dy: str) -> Gradients:
    """d(a − b) = da − db."""
    return dy, g.neg(dy)


@rule("Mul", broadcasts=True)
def mul(g: Emitter, n: Node, dy: str) -> Gradients:
    """d(a·b) = da·b + a·db."""
    a, b = n.inputs
    return g.mul(dy, b), g.mul(dy, a)


@rule("Div", broadcasts=True)
def div(g: Emitter, n: Node, dy: str) -> Gradients:
    """d(a/b) = da/b − (y/b)·db, with y = a/b."""
    da = g.div(dy, n.inputs[1])
    return da, g.neg(g.mul(da, n.y))


@rule("Mean", broadcasts=True)
def mean(g: Emitter, n: Node, dy: str) -> Gradients:
    """d((a + b + …)/k) = (da + db + …)/k."""
    return [g.mul(dy, g.number(1 / len(n.inputs), n.y))] * len(n.inputs)


@rule("Min", "Max", broadcasts=True)
def extremum(g: Emitter, n: Node, dy: str) -> Gradients:
    """Flow to whichever input is the extremum; equal ones share, as a subgradient may (PyTorch does the same)."""
    chosen = [g.mask(g.op("Equal", name, n.y), n.y) for name in n.inputs]
    if len(chosen) == 1:
        return (dy,)
    share = g.div(dy, g.op("Sum", *chosen))
    return [g.mul(share, mask) for mask in chosen]


@rule("Where", broadcasts=True)
def where(g: Emitter, n: Node, dy: str) -> Gradients:
    """Flow to the side that was taken."""
    zero = g.number(0, n.y)
    return None, g.op("Where", n.x, dy, zero), g.op("Where", n.x, zero, dy)


@rule("Pow", broadcasts=True)
def power(g: Emitter, n: Node, dy: str) -> Gradients:
    """d(a^b) = b·a^(b−1)·da + y·ln(a)·db, the latter 0 where a ≤ 0."""
    a, b = n.inputs
    exponent = n.constants.get(b)
    if exponent is not None and exponent.size == 1:
        value = float(exponent.reshape(-1)[0])
        return (g.mul(dy, _power_slope(g, n, value)) if value else None,)
    one = g.number(1, a)
    exponent_a = b if g.type(a).dtype == g.type(b).dtype else g.mask(b, a)
    lower = g.sub(exponent_a, one)
    if exponent is None or not exponent.all():  # a^0 is flat, at 0 too, where a^−1 is not finite
        zero = g.number(0, a)
        lower = g.op("Where", g.op("Equal", exponent_a, zero), zero, lower)
    da = g.mul(dy, g.mul(exponent_a, g.op("Pow", a, lower)))
    positive = g.op("Greater", a, g.number(0, a))
    log = g.op("Where", positive, g.op("Log", g.op("Where", positive, a, one)), g.number(0, a))
    return da, g.mul(dy, g.mul(n.y, log))


def _power_slope(g: Emitter, n: Node, exponent: float) -> str:
    """b·a^(b−1), without a Pow where a multiplication does."""
    factor = g.number(exponent, n.x)
    if exponent == 2:
        return g.mul(factor, n.x)
    if exponent == 1:
        return factor
    if exponent == 0.5:
        return g.div(factor, n.y)
    return g.mul(factor, g.op("Pow", n.x, g.number(exponent - 1, n.x)))


@rule("Neg")
def neg(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = −dy."""
    return (g.neg(dy),)


@rule("Abs")
def absolute(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = sign(x)·dy, 0 at 0."""
    return (g.mul(dy, g.op("Sign", n.x)),)


@rule("Exp")
def exp(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = y·dy."""
    return (g.mul(dy, n.y),)


@rule("Log")
def log(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/x."""
    return (g.div(dy, n.x),)


@rule("Sqrt")
def sqrt(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/(2y)."""
    return (g.div(g.mul(dy, g.number(0.5, n.y)), n.y),)


@rule("Reciprocal")
def reciprocal(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = −y²·dy."""
    return (g.neg(g.mul(dy, g.mul(n.y, n.y))),)


@rule("Sin")
def sin(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = cos(x)·dy."""
    return (g.mul(dy, g.op("Cos", n.x)),)


@rule("Cos")
def cos(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = −sin(x)·dy."""
    return (g.neg(g.mul(dy, g.op("Sin", n.x))),)


@rule("Erf")
def erf(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = 2/√π · e^(−x²) · dy."""
    bell = g.op("Exp", g.neg(g.mul(n.x, n.x)))
    return (g.mul(dy, g.mul(bell, g.number(2 / np.sqrt(np.pi), n.x))),)


@rule("Identity")
def identity(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy."""
    return (dy,)


@rule("Cast", "CastLike")
def cast(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy, in the dtype of x."""
    return (g.mask(dy, n.x),)
