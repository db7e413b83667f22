"""Activations, and Dropout.

A slope is written in y wherever y tells it: a runtime fuses an activation into the Conv before it only if nothing else
reads what lies between them.
"""

import math

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule


@rule("Relu")
def relu(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy where y > 0, else 0."""
    return (g.mul(dy, g.mask(_positive(g, n.y), n.y)),)


@rule("LeakyRelu")
def leaky_relu(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy where x > 0, else α·dy."""
    alpha = n.attribute("alpha", 0.01)
    positive = _positive(g, n.y if alpha >= 0 else n.x)  # y has the sign of x unless α turns it around
    return (g.mul(dy, g.op("Where", positive, g.number(1, n.y), g.number(alpha, n.y))),)


@rule("PRelu", broadcasts=True)
def prelu(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy where x > 0, else slope·dy; d slope = min(x, 0)·dy."""
    x, slope = n.inputs
    dx = g.mul(dy, g.op("Where", _positive(g, x), g.number(1, x), slope))
    return dx, g.mul(dy, _negative_part(g, x))


@rule("ThresholdedRelu")
def thresholded_relu(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy where x > α, else 0."""
    above = g.op("Greater", n.x, g.number(n.attribute("alpha", 1.0), n.x))
    return (g.mul(dy, g.mask(above, n.x)),)


@rule("Clip")
def clip(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy where min < y < max, else 0: nothing flows to the bounds, nor at them."""
    low, high = n.input(1), n.input(2)
    inside = [g.op("Greater", n.y, low)] if low else []
    inside += [g.op("Less", n.y, high)] if high else []
    if not inside:
        return (dy,)
    both = inside[0] if len(inside) == 1 else g.op("And", *inside)
    return (g.mul(dy, g.mask(both, n.y)),)


@rule("Elu")
def elu(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy where x > 0, else α·eˣ·dy."""
    alpha = n.attribute("alpha", 1.0)
    if alpha == 1:
        return (g.mul(dy, _decay(g, n.x)),)
    return (g.mul(dy, _exponential_slope(g, n.x, 1.0, alpha)),)


@rule("Selu")
def selu(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = γ·dy where x > 0, else γ·α·eˣ·dy."""
    alpha, gamma = n.attribute("alpha", 1.6732632423543772), n.attribute("gamma", 1.0507009873554805)
    return (g.mul(dy, _exponential_slope(g, n.x, gamma, gamma * alpha)),)


@rule("Celu")
def celu(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy where x > 0, else e^(x/α)·dy."""
    scaled = g.div(_negative_part(g, n.x), g.number(n.attribute("alpha", 1.0), n.x))
    return (g.mul(dy, g.op("Exp", scaled)),)


@rule("Sigmoid")
def sigmoid(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = y·(1 − y)·dy."""
    return (g.mul(dy, g.mul(n.y, g.sub(g.number(1, n.y), n.y))),)


@rule("HardSigmoid")
def hard_sigmoid(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = α·dy where 0 < y < 1, else 0."""
    inside = g.op("And", _positive(g, n.y), g.op("Less", n.y, g.number(1, n.y)))
    slope = g.mul(g.mask(inside, n.y), g.number(n.attribute("alpha", 0.2), n.y))
    return (g.mul(dy, slope),)


@rule("HardSwish")
def hard_swish(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = x·h with h = clip(x/6 + 1/2, 0, 1): dx = (h + x/6 where |x| < 3)·dy."""
    gate = g.op("HardSigmoid", n.x, alpha=1 / 6, beta=0.5)
    inside = g.mask(g.op("Less", g.op("Abs", n.x), g.number(3, n.x)), n.x)
    return (g.mul(dy, g.add(gate, g.mul(inside, g.mul(n.x, g.number(1 / 6, n.x))))),)


@rule("Tanh")
def tanh(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = (1 − y²)·dy."""
    return (g.mul(dy, g.sub(g.number(1, n.y), g.mul(n.y, n.y))),)


@rule("Softplus")
def softplus(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = σ(x)·dy."""
    return (g.mul(dy, g.op("Sigmoid", n.x)),)


@rule("Softsign")
def softsign(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/(1 + |x|)²."""
    size = g.add(g.op("Abs", n.x), g.number(1, n.x))
    return (g.div(dy, g.mul(size, size)),)


@rule("Mish")
def mish(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = x·t with t = tanh(softplus(x)): dx = (t + x·(1 − t²)·σ(x))·dy."""
    t = g.op("Tanh", g.op("Softplus", n.x))
    dt = g.mul(g.sub(g.number(1, n.x), g.mul(t, t)), g.op("Sigmoid", n.x))
    return (g.mul(dy, g.add(t, g.mul(n.x, dt))),)


@rule("Gelu")
def gelu(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = x·Φ(x), or its approximation by tanh."""
    slope = _gelu_by_tanh(g, n) if n.attribute("approximate", "none") == "tanh" else _gelu_by_erf(g, n)
    return (g.mul(dy, slope),)


def _gelu_by_erf(g: Emitter, n: Node) -> str:
    """Φ(x) + x·φ(x) = (1 + erf u)/2 + u·e^(−u²)/√π, with u = x/√2."""
    half = g.number(0.5, n.x)
    u = g.mul(n.x, g.number(math.sqrt(0.5), n.x))
    cumulated = g.add(g.mul(g.op("Erf", u), half), half)
    bell = g.op("Exp", g.sub(g.number(-math.log(math.pi) / 2, n.x), g.mul(u, u)))
    return g.add(cumulated, g.mul(u, bell))


def _gelu_by_tanh(g: Emitter, n: Node) -> str:
    """y = x·s with s = (1 + tanh u)/2 = σ(2u), u = √(2/π)·(x + c·x³): s + y·(1 − s)·2u'."""
    twice, c = 2 * math.sqrt(2 / math.pi), 0.044715
    square = g.mul(n.x, n.x)
    u = g.mul(n.x, g.add(g.mul(square, g.number(twice * c, n.x)), g.number(twice, n.x)))
    du = g.add(g.mul(square, g.number(3 * twice * c, n.x)), g.number(twice, n.x))
    s = g.op("Sigmoid", u)
    return g.add(s, g.mul(g.mul(n.y, g.sub(g.number(1, n.x), s)), du))


@rule("Dropout")
def dropout(g: Emitter, n: Node, dy: str, of_mask: str = "") -> Gradients:
    """dx = dy; in training: mask/(1 − ratio)·dy."""
    training = n.value(2)
    if training is None or not training.any():
        return (dy,)
    if len(n.outputs) < 2 or not n.outputs[1]:
        raise n.refused("it drops at random and does not tell what: make its mask an output")
    ratio = n.value(1)
    kept = 1 - (0.5 if ratio is None else float(ratio))
    return (g.mul(dy, g.mul(g.mask(n.outputs[1], n.x), g.number(1 / kept, n.x))),)


def _positive(g: Emitter, name: str) -> str:
    """Tell where a forward tensor is above 0."""
    return g.op("Greater", name, g.number(0, name))


def _negative_part(g: Emitter, name: str) -> str:
    """min(x, 0)."""
    return g.op("Min", name, g.number(0, name))


def _decay(g: Emitter, x: str) -> str:
    """eˣ where x < 0, else 1: nothing grows, so nothing overflows."""
    return g.op("Exp", _negative_part(g, x))


def _exponential_slope(g: Emitter, x: str, above: float, below: float) -> str:
    """One slope where x > 0, and one that decays elsewhere."""
    return g.op("Where", _positive(g, x), g.number(above, x), g.mul(_decay(g, x), g.number(below, x)))
