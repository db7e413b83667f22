"""Local response normalization, across channels."""

import numpy as np

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule


@rule("LRN")
def lrn(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = x·s^(−β), s = bias + α/size · B·x², B the band of channels near: dx = dy·s^(−β) − 2αβ/size · x·B(dy·y/s)."""
    channels, size = g.type(n.x).size(1), n.attributes["size"]
    alpha, beta = n.attribute("alpha", 1e-4), n.attribute("beta", 0.75)
    distance = np.arange(channels) - np.arange(channels)[:, None]
    band = g.constant(np.abs(distance) <= size // 2, g.type(n.x).dtype)  # onnxruntime takes odd sizes only

    squares = g.op("MatMul", band, _flat(g, g.mul(n.x, n.x), channels))
    s = g.reshape_like(g.add(g.mul(squares, g.number(alpha / size, n.x)), g.number(n.attribute("bias", 1.0), n.x)), n.x)
    # e^(−β·ln s): a third of the time of a Pow.
    scale = g.op("Exp", g.mul(g.op("Log", s), g.number(-beta, n.x)))
    felt = g.op("MatMul", band, _flat(g, g.div(g.mul(dy, n.y), s), channels))
    back = g.mul(n.x, g.mul(g.reshape_like(felt, n.x), g.number(-2 * alpha * beta / size, n.x)))
    return (g.add(g.mul(dy, scale), back),)


def _flat(g: Emitter, values: str, channels: int) -> str:
    """[batch, channels, all the rest]."""
    return g.op("Reshape", values, g.constant([0, channels, -1]))
