"""The rarer functions of the circle and of the hyperbola; Sin, Cos and Tanh are at home elsewhere."""

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule


@rule("Tan")
def tan(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = (1 + y²)·dy."""
    return (g.mul(dy, g.add(g.mul(n.y, n.y), g.number(1, n.x))),)


@rule("Asin")
def asin(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/√(1 − x²)."""
    return (g.div(dy, _root(g, n, 1, -1)),)


@rule("Acos")
def acos(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = −dy/√(1 − x²)."""
    return (g.neg(g.div(dy, _root(g, n, 1, -1))),)


@rule("Atan")
def atan(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/(1 + x²)."""
    return (g.div(dy, _square(g, n, 1, 1)),)


@rule("Sinh")
def sinh(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = cosh(x)·dy."""
    return (g.mul(dy, g.op("Cosh", n.x)),)


@rule("Cosh")
def cosh(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = sinh(x)·dy."""
    return (g.mul(dy, g.op("Sinh", n.x)),)


@rule("Asinh")
def asinh(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/√(x² + 1)."""
    return (g.div(dy, _root(g, n, 1, 1)),)


@rule("Acosh")
def acosh(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/√(x² − 1)."""
    return (g.div(dy, _root(g, n, -1, 1)),)


@rule("Atanh")
def atanh(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/(1 − x²)."""
    return (g.div(dy, _square(g, n, 1, -1)),)


def _square(g: Emitter, n: Node, constant: float, factor: float) -> str:
    """Constant + factor·x²."""
    return g.add(g.mul(g.mul(n.x, n.x), g.number(factor, n.x)), g.number(constant, n.x))


def _root(g: Emitter, n: Node, constant: float, factor: float) -> str:
    """√(constant + factor·x²)."""
    return g.op("Sqrt", _square(g, n, constant, factor))
