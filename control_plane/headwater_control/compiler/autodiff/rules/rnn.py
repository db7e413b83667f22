"""The simple recurrent layer."""

from collections.abc import Sequence

from headwater_control.compiler.autodiff.rules.recurrence import Pass, joined, passes
from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule


@rule("RNN")
def rnn(g: Emitter, n: Node, dy: str, dy_h: str = "") -> Gradients:
    """h' = tanh(a) with a = x·wᵀ + h·rᵀ + biases: da = (1 − h'²)·dh', and da·r flows on into h."""
    return joined(g, n, [_one_way(g, one) for one in passes(g, n, dy, dy_h, ["Tanh"])])


def _one_way(g: Emitter, one: Pass) -> Sequence[str]:
    def step(dh: str, slope: str, *dy: str) -> tuple[Sequence[str], Sequence[str]]:
        da = g.mul(g.op("Sum", dh, *dy), slope)
        return [g.op("Gemm", da, one.r)], [da]

    slope = one.sequence(one.tanh_slope(one.h))
    dh, da = one.backward(step, [one.dh], slope, *one.dy)
    rows = one.rows(da)
    return *one.gradients(rows, rows), dh
