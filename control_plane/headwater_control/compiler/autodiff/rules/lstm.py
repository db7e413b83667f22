"""The long short-term memory (Hochreiter and Schmidhuber, 1997), with peepholes (Gers et al., 2002) or without."""

from collections.abc import Sequence
from dataclasses import dataclass

from headwater_control.compiler.autodiff.rules.recurrence import Pass, joined, passes, stacked
from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule

FIRST_C, PEEPHOLES = 6, 7


@rule("LSTM")
def lstm(g: Emitter, n: Node, dy: str, dy_h: str = "", dy_c: str = "") -> Gradients:
    """c' = f·c + i·u and h' = o·tanh(c') with i, o, f = σ(a_i), σ(a_o), σ(a_f), u = tanh(a_u), a = x·wᵀ + h·rᵀ + bias.

    From dh' and dc', which first grows by o·tanh'(c')·dh': do = tanh(c')·dh', di = u·dc', df = c·dc', du = i·dc', and
    f·dc' flows on into c, da·r into h. Peepholes p add p_i·c to a_i, p_f·c to a_f and p_o·c' to a_o.
    """
    parts, peepholes = [], []
    for one in passes(g, n, dy, dy_h, ["Sigmoid", "Tanh", "Tanh"]):
        p = one.own(n.input(PEEPHOLES))
        gates = _with_peepholes(g, one, n.input(FIRST_C), p) if p else _without_peepholes(g, one, n.input(FIRST_C))
        gradients, dp = _back(g, one, gates, p, one.state(dy_c))
        parts.append(gradients)
        peepholes.append(dp)
    return *joined(g, n, parts), stacked(g, peepholes)


@dataclass(frozen=True, slots=True)
class _Gates:
    """Rows of what a pass went through; u is what the cells were offered."""

    i: str
    o: str
    f: str
    u: str
    c: str
    c_before: str


def _without_peepholes(g: Emitter, one: Pass, first_c: str) -> _Gates:
    def step(c: str, f: str, iu: str) -> tuple[Sequence[str], Sequence[str]]:
        c = g.add(g.mul(f, c), iu)
        return [g.op("Identity", c)], [c]

    a, a_u = _affine(g, one)
    i, o, f = _each(g, g.op("Sigmoid", a), axis=1)
    u = g.op("Tanh", a_u)
    _, c = one.forward(step, [one.state(first_c)], one.sequence(f), one.sequence(g.mul(i, u)))
    return _Gates(i, o, f, u, one.rows(c), one.rows_before(c, first_c))


def _with_peepholes(g: Emitter, one: Pass, first_c: str, p: str) -> _Gates:
    """Every gate sees the cell, so those that it depends on are in the loop."""
    p_i, p_o, p_f = _each(g, p, axis=0)

    def gate(a: str, p: str, c: str) -> str:
        return g.op("Sigmoid", g.add(a, g.mul(p, c)))

    def step(c: str, a_i: str, a_f: str, u: str) -> tuple[Sequence[str], Sequence[str]]:
        c = g.add(g.mul(gate(a_f, p_f, c), c), g.mul(gate(a_i, p_i, c), u))
        return [g.op("Identity", c)], [c]

    a, a_u = _affine(g, one)
    a_i, a_o, a_f = _each(g, a, axis=1)
    u = g.op("Tanh", a_u)
    _, cells = one.forward(step, [one.state(first_c)], one.sequence(a_i), one.sequence(a_f), one.sequence(u))
    c, c_before = one.rows(cells), one.rows_before(cells, first_c)
    return _Gates(gate(a_i, p_i, c_before), gate(a_o, p_o, c), gate(a_f, p_f, c_before), u, c, c_before)


def _back(g: Emitter, one: Pass, at: _Gates, p: str, dc: str) -> tuple[tuple[str, ...], str]:
    """Give the gradients of everything but the peepholes, and theirs."""

    def step(dh: str, dc: str, k: str, k_c: str, f: str, *dy: str) -> tuple[Sequence[str], Sequence[str]]:
        dh = g.op("Sum", dh, *dy)
        dc = g.add(dc, g.mul(dh, k_c))
        da = g.mul(g.op("Concat", dc, dh, dc, dc, axis=1), k)
        return [g.op("Gemm", da, one.r), g.mul(dc, f)], [da]

    tanh_c = g.op("Tanh", at.c)
    k_i = g.mul(at.u, one.sigmoid_slope(at.i))
    k_o = g.mul(tanh_c, one.sigmoid_slope(at.o))
    k_f = g.mul(at.c_before, one.sigmoid_slope(at.f))
    k_u = g.mul(at.i, one.tanh_slope(at.u))
    k_c, k_before = g.mul(at.o, one.tanh_slope(tanh_c)), at.f
    if p:  # the gates pass on to the cells what they get
        p_i, p_o, p_f = _each(g, p, axis=0)
        k_c = g.add(k_c, g.mul(p_o, k_o))
        k_before = g.op("Sum", k_before, g.mul(p_i, k_i), g.mul(p_f, k_f))
    k = g.op("Concat", k_i, k_o, k_f, k_u, axis=1)
    slopes = one.sequence(k, 4), one.sequence(k_c), one.sequence(k_before)
    dh, dc, das = one.backward(step, [one.dh, dc], *slopes, *one.dy)
    da = one.rows(das)
    seen = g.op("Concat", at.c_before, at.c, at.c_before, axis=1)
    dp = one.sum(g.mul(_gates_and_cell(g, one, da)[0], seen))
    return (*one.gradients(da, da), dh, dc), dp


def _affine(g: Emitter, one: Pass) -> tuple[str, str]:
    """x·wᵀ + h·rᵀ + biases, of the gates and of the cell."""
    from_x = g.op("Gemm", one.x, one.w, one.bias(), transB=1)
    return _gates_and_cell(g, one, g.op("Gemm", one.h_before, one.r, from_x, transB=1))


def _gates_and_cell(g: Emitter, one: Pass, rows: str) -> tuple[str, str]:
    """Split rows of all four, in ONNX's order (i, o, f, u)."""
    gates, cell = g.ops("Split", 2, rows, g.constant([3 * one.units, one.units]), axis=1)
    return gates, cell


def _each(g: Emitter, gates: str, axis: int) -> tuple[str, str, str]:
    """Split what holds the three gates."""
    i, o, f = g.ops("Split", 3, gates, axis=axis, num_outputs=3)
    return i, o, f
