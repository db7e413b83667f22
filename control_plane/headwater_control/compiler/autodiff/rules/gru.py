"""The gated recurrent unit (Cho et al., 2014), with either place of the reset gate."""

from collections.abc import Sequence

from headwater_control.compiler.autodiff.rules.recurrence import Pass, joined, passes
from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule


@rule("GRU")
def gru(g: Emitter, n: Node, dy: str, dy_h: str = "") -> Gradients:
    """h' = (1 − z)·c + z·h with z, r = σ(a_z), σ(a_r) and c = tanh(a_c), each a = x·wᵀ + h·rᵀ + biases, but a_c resets.

    It multiplies by r either h ("before") or h·rᵀ + bias_r ("linear before reset": after). From dh': dc = (1 − z)·dh',
    dz = (h − c)·dh', and z·dh' flows on into h, with what flows through the three gates.
    """
    one_way = _reset_after if n.attribute("linear_before_reset", 0) else _reset_before
    return joined(g, n, [one_way(g, one) for one in passes(g, n, dy, dy_h, ["Sigmoid", "Tanh"])])


def _reset_before(g: Emitter, one: Pass) -> Sequence[str]:
    """a_c = x·w_cᵀ + (r·h)·r_cᵀ + biases."""
    h = one.h_before
    r_zr, r_c = _gates_and_candidate(g, one, one.r, axis=0)
    x_zr, x_c = _gates_and_candidate(g, one, g.op("Gemm", one.x, one.w, one.bias(), transB=1))
    z, r = g.ops("Split", 2, g.op("Sigmoid", g.op("Gemm", h, r_zr, x_zr, transB=1)), axis=1, num_outputs=2)
    kept = g.mul(r, h)
    c = g.op("Tanh", g.op("Gemm", kept, r_c, x_c, transB=1))

    def step(dh: str, z: str, r: str, k_c: str, k_zr: str, *dy: str) -> tuple[Sequence[str], Sequence[str]]:
        dh = g.op("Sum", dh, *dy)
        da_c = g.mul(dh, k_c)
        dkept = g.op("Gemm", da_c, r_c)
        da_zr = g.mul(g.op("Concat", dh, dkept, axis=1), k_zr)
        direct = g.add(g.mul(dh, z), g.mul(dkept, r))
        return [g.op("Gemm", da_zr, r_zr, direct)], [da_zr, da_c]

    k_c, k_z = _slopes(g, one, z, c)
    k_zr = g.op("Concat", k_z, g.mul(h, one.sigmoid_slope(r)), axis=1)
    slopes = one.sequence(z), one.sequence(r), one.sequence(k_c), one.sequence(k_zr, 2)
    dh, da_zr, da_c = one.backward(step, [one.dh], *slopes, *one.dy)
    da_zr, da_c = one.rows(da_zr), one.rows(da_c)
    dr = g.op("Concat", g.op("Gemm", da_zr, h, transA=1), g.op("Gemm", da_c, kept, transA=1), axis=0)
    da = g.op("Concat", da_zr, da_c, axis=1)
    return *one.gradients(da, da, dr), dh


def _reset_after(g: Emitter, one: Pass) -> Sequence[str]:
    """a_c = x·w_cᵀ + bias_w + r·m with m = h·r_cᵀ + bias_r."""
    x_zr, x_c = _gates_and_candidate(g, one, g.op("Gemm", one.x, one.w, one.bias_w, transB=1))
    h_zr, m = _gates_and_candidate(g, one, g.op("Gemm", one.h_before, one.r, one.bias_r, transB=1))
    z, r = g.ops("Split", 2, g.op("Sigmoid", g.add(x_zr, h_zr)), axis=1, num_outputs=2)
    c = g.op("Tanh", g.add(x_c, g.mul(r, m)))

    def step(dh: str, z: str, k_c: str, k: str, *dy: str) -> tuple[Sequence[str], Sequence[str]]:
        dh = g.op("Sum", dh, *dy)
        da_c = g.mul(dh, k_c)
        da_h = g.mul(g.op("Concat", dh, da_c, da_c, axis=1), k)
        return [g.op("Gemm", da_h, one.r, g.mul(dh, z))], [da_h, da_c]

    k_c, k_z = _slopes(g, one, z, c)
    k = g.op("Concat", k_z, g.mul(m, one.sigmoid_slope(r)), r, axis=1)
    slopes = one.sequence(z), one.sequence(k_c), one.sequence(k, 3)
    dh, da_h, da_c = one.backward(step, [one.dh], *slopes, *one.dy)
    da_h, da_c = one.rows(da_h), one.rows(da_c)
    da_x = g.op("Concat", _gates_and_candidate(g, one, da_h)[0], da_c, axis=1)
    return *one.gradients(da_x, da_h), dh


def _slopes(g: Emitter, one: Pass, z: str, c: str) -> tuple[str, str]:
    """What dh' is multiplied by, to give da_c and da_z."""
    k_c = g.mul(one.rest(z), one.tanh_slope(c))
    return k_c, g.mul(g.sub(one.h_before, c), one.sigmoid_slope(z))


def _gates_and_candidate(g: Emitter, one: Pass, name: str, axis: int = 1) -> tuple[str, str]:
    """Split what holds all three, in ONNX's order (z, r, c), into z with r, and c."""
    zr, c = g.ops("Split", 2, name, g.constant([2 * one.units, one.units]), axis=axis)
    return zr, c
