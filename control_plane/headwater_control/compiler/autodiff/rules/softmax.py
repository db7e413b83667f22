"""Softmax, and its logarithm."""

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule


@rule("Softmax")
def softmax(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = y·(dy − Σ dy·y)."""
    return (g.mul(n.y, g.sub(dy, _total(g, n, g.mul(dy, n.y)))),)


@rule("LogSoftmax")
def log_softmax(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy − e^y·Σ dy."""
    return (g.sub(dy, g.mul(g.op("Exp", n.y), _total(g, n, dy))),)


def _total(g: Emitter, n: Node, values: str) -> str:
    """Sum over the axis along which the probabilities add up to 1."""
    return g.reduce_sum(values, (n.attribute("axis", -1),), keepdims=True)
