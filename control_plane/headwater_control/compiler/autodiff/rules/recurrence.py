"""What RNN, GRU and LSTM have in common: a pass over a sequence in one direction, or one in each.

The gates of all steps are computed again at once, from x and from the states, which the node's output holds; so are the
gradients of the weights. Only what flows from step to step takes a loop.
"""

from collections.abc import Sequence

import numpy as np
from onnx import numpy_helper

from headwater_control.compiler.autodiff.rules.registry import Emitter, Node
from headwater_control.compiler.autodiff.rules.scan import Step, before, scan

X, W, R, BIAS, LENGTHS, FIRST_H = range(6)  # the inputs of all three


class Pass:
    """One direction of a node. A sequence is [steps, batch, …]; its rows are [steps · batch, …]."""

    def __init__(self, g: Emitter, n: Node, direction: int, y: str, dy: str, dy_h: str) -> None:
        self._g, self._n, self._direction = g, n, direction
        self._last_first = direction == 1 or n.attribute("direction", "forward") == "reverse"
        self.units = g.type(n.inputs[R]).size(2)
        self.x = self.rows(_turned(g, n, n.x))
        self.w, self.r, bias = (self.own(n.input(place)) for place in (W, R, BIAS))
        self.bias_w, self.bias_r = g.ops("Split", 2, bias, axis=0, num_outputs=2) if bias else ("", "")
        h = self.own(_time_first(g, n, y), axis=1)
        self._zeros = self._no_state(h)
        self.h = self.rows(h)
        self.h_before = self.rows_before(h, n.input(FIRST_H))
        self.dh = self.state(dy_h)
        self.dy = (self.own(_time_first(g, n, dy), axis=1),) if dy else ()

    # -- this direction's part of the node's tensors

    def own(self, name: str, axis: int = 0) -> str:
        """Take what belongs to this direction, on the axis of directions; "" of what is left out."""
        g = self._g
        if not name:
            return ""
        if _directions(g, self._n) == 1:
            return g.op("Squeeze", name, g.constant([axis]))
        return g.op("Gather", name, g.constant(self._direction), axis=axis)

    def state(self, name: str) -> str:
        """Take this direction's first or last state [batch, units], or the gradient of one; zeros if left out."""
        return self.own(_turned(self._g, self._n, name)) if name else self._zeros

    def _no_state(self, states: str) -> str:
        zero = np.zeros(1, self._g.type(self._n.x).dtype)
        return self._g.op("ConstantOfShape", self._g.op("Shape", states, start=1), value=numpy_helper.from_array(zero))

    # -- rows and sequences

    def rows(self, sequence: str) -> str:
        """Join the axes of time and batch."""
        return self._g.op("Flatten", sequence, axis=2)

    def rows_before(self, states: str, first: str) -> str:
        """Give the states before each step, from the sequence of those after each and the node's input of the first."""
        first = self._g.unsqueeze(self.state(first), (0,))
        return self.rows(before(self._g, states, first, last_first=self._last_first))

    def sequence(self, rows: str, gates: int = 1) -> str:
        """Give rows their axes of time and batch back."""
        return self._g.reshape(rows, (*_steps_and_batch(self._g, self._n), gates * self.units))

    # -- loops

    def forward(self, step: Step, states: Sequence[str], *sequences: str) -> tuple[str, ...]:
        """Run through the steps as the node does."""
        return scan(self._g, step, states, sequences, like=self._n.x, last_first=self._last_first)

    def backward(self, step: Step, states: Sequence[str], *sequences: str) -> tuple[str, ...]:
        """Run through the steps the other way."""
        return scan(self._g, step, states, sequences, like=self._n.x, last_first=not self._last_first)

    # -- what every kind computes

    def bias(self) -> str:
        """Add the two biases up, for a node that does."""
        return self._g.add(self.bias_w, self.bias_r) if self.bias_w else ""

    def gradients(self, da_x: str, da_h: str, dr: str = "") -> tuple[str, str, str, str]:
        """Give those of x (rows), w, r and the biases, from the rows of those of x·wᵀ + bias_w and h·rᵀ + bias_r."""
        g = self._g
        dx, dw = g.op("Gemm", da_x, self.w), g.op("Gemm", da_x, self.x, transA=1)
        dr = dr or g.op("Gemm", da_h, self.h_before, transA=1)
        return dx, dw, dr, g.op("Concat", self.sum(da_x), self.sum(da_h), axis=0)

    def sum(self, rows: str) -> str:
        """Sum over all steps and examples."""
        return self._g.reduce_sum(rows, (0,), keepdims=False)

    def rest(self, gate: str) -> str:
        """1 − gate."""
        return self._g.sub(self._g.number(1, self._n.x), gate)

    def sigmoid_slope(self, gate: str) -> str:
        """σ' from σ."""
        return self._g.mul(gate, self.rest(gate))

    def tanh_slope(self, value: str) -> str:
        """tanh' from tanh."""
        return self.rest(self._g.mul(value, value))


def passes(g: Emitter, n: Node, dy: str, dy_h: str, activations: Sequence[str]) -> list[Pass]:
    """Give one for each direction. Raises `CompileError` for a form that can't be differentiated."""
    _check(g, n, activations)
    y = n.y or g.op(n.kind, *n.inputs, **n.attributes)  # where only the last state is wanted, the others aren't kept
    return [Pass(g, n, direction, y, dy, dy_h) for direction in range(_directions(g, n))]


def joined(g: Emitter, n: Node, parts: Sequence[Sequence[str]]) -> list[str | None]:
    """Put what each direction gives together, by input: gradients of x (rows), w, r, the biases, and first states."""
    dx, dw, dr, db, *states = zip(*parts, strict=True)
    x = g.reshape(g.op("Sum", *dx), (*_steps_and_batch(g, n), g.type(n.x).size(2)))
    weights = [stacked(g, part) for part in (dw, dr, db)]
    return [_turned(g, n, x), *weights, None, *(_turned(g, n, stacked(g, state)) for state in states)]


def stacked(g: Emitter, parts: Sequence[str]) -> str:
    """Put the parts of all directions on an axis in front."""
    return g.op("Concat", *(g.unsqueeze(part, (0,)) for part in parts), axis=0)


def _check(g: Emitter, n: Node, activations: Sequence[str]) -> None:
    chosen = [name.decode() for name in n.attribute("activations", [])]
    if any(name.lower() != activations[place % len(activations)].lower() for place, name in enumerate(chosen)):
        raise n.refused(f"its activations are {', '.join(chosen)}: only {', '.join(activations)} are supported")
    if "clip" in n.attributes:
        raise n.refused("it clips: export it without the attribute 'clip'")
    if n.attribute("input_forget", 0):
        raise n.refused("its input and forget gates are coupled: export it without the attribute 'input_forget'")
    steps, batch = _steps_and_batch(g, n)
    if steps is None and batch is None:
        raise n.refused("the length of its sequences grows with the batch: give them a fixed length")
    lengths = n.value(LENGTHS)
    if lengths is not None and not (lengths == steps).all():
        raise n.refused("its sequences differ in length: pad them, and leave the input 'sequence_lens' out")


def _directions(g: Emitter, n: Node) -> int:
    return g.type(n.inputs[W]).size(0)


def _batch_first(n: Node) -> bool:
    return bool(n.attribute("layout", 0))


def _steps_and_batch(g: Emitter, n: Node) -> tuple[int | None, int | None]:
    first, second = g.type(n.x).dims[:2]
    return (second, first) if _batch_first(n) else (first, second)


def _turned(g: Emitter, n: Node, name: str) -> str:
    """Bring x or a state from the node's layout to [steps or directions, batch, …], or back."""
    return g.transpose(name, (1, 0, 2)) if _batch_first(n) else name


def _time_first(g: Emitter, n: Node, y: str) -> str:
    """Bring the first output from the node's layout to [steps, directions, batch, units]."""
    return g.transpose(y, (1, 2, 0, 3)) if _batch_first(n) else y
