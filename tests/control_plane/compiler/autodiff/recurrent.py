"""RNN, GRU and LSTM nodes of every form, and what they compute, in float64."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from tests.control_plane.compiler.autodiff.checking import node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw

Array = npt.NDArray[np.float64]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUTS = ["x", "w", "r", "b", "lengths", "h0", "c0", "p"]
OUTPUTS = {"RNN": ["y", "y_h"], "GRU": ["y", "y_h"], "LSTM": ["y", "y_h", "y_c"]}


@dataclass(frozen=True)
class Form:
    """A node, and the sizes of what it gets."""

    kind: str
    direction: str = "forward"
    layout: int = 0
    reset_after: int = 0
    steps: int = 3
    batch: int = 2
    inputs: int = 2
    units: int = 2
    given: frozenset[str] = frozenset()  # of the optional inputs
    received: frozenset[str] = frozenset({"y"})  # outputs from which something flows back
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def directions(self) -> int:
        """Count them."""
        return 2 if self.direction == "bidirectional" else 1

    def node(self, outputs: Sequence[str] | None = None) -> onnx.NodeProto:
        """Make the real one."""
        own = {"linear_before_reset": self.reset_after} if self.kind == "GRU" else {}
        names = [name if name in {"x", "w", "r"} | self.given else "" for name in INPUTS]
        while not names[-1]:
            names.pop()
        more = {"direction": self.direction, "layout": self.layout, "hidden_size": self.units, **own, **self.attributes}
        return node(self.kind, names, outputs or OUTPUTS[self.kind], **more)

    def tensors(self) -> dict[str, Array]:
        """Draw the inputs."""
        d, rows = self.directions, GATES[self.kind] * self.units
        x = (self.batch, self.steps, self.inputs) if self.layout else (self.steps, self.batch, self.inputs)
        state = (self.batch, d, self.units) if self.layout else (d, self.batch, self.units)
        shapes = {
            "x": x, "w": (d, rows, self.inputs), "r": (d, rows, self.units), "b": (d, 2 * rows),
            "h0": state, "c0": state, "p": (d, 3 * self.units),
        }  # fmt: skip
        wanted = {"x", "w", "r"} | self.given
        return {name: draw(shape, -1, 1, place) for place, (name, shape) in enumerate(shapes.items()) if name in wanted}

    def batch_axes(self) -> dict[str, int]:
        """Tell where the batch is."""
        own = 0 if self.layout else 1
        return {"x": own, "h0": own, "c0": own, "y_h": own, "y_c": own, "y": 0 if self.layout else 2}


def sigmoid(a: Array) -> Array:
    """Squash to 0 … 1."""
    return np.asarray(1 / (1 + np.exp(-a)))


def forward(form: Form, given: Mapping[str, Array]) -> dict[str, Array]:
    """Compute the node by its formulas in ONNX's documentation."""
    x = given["x"].swapaxes(0, 1) if form.layout else given["x"]
    sequences, lasts = [], []
    for direction in range(form.directions):
        own = {name: values[direction] for name, values in given.items() if name in "wrbp"}
        states: list[Array] = [np.zeros((form.batch, form.units))] * 2
        for place, name in enumerate(("h0", "c0")):
            if name in given:
                states[place] = np.asarray(given[name].take(direction, 1 if form.layout else 0))
        bias = own.get("b", np.zeros(2 * GATES[form.kind] * form.units))
        turned = form.direction == "reverse" or direction == 1
        made = []
        for x_t in x[::-1] if turned else x:
            states = step(form, x_t, states[0], states[1], own["w"], own["r"], np.split(bias, 2), own.get("p"))
            made.append(states[0])
        sequences.append(np.stack(made[::-1] if turned else made))
        lasts.append(states)
    y, y_h, y_c = np.stack(sequences, 1), np.stack([h for h, _ in lasts]), np.stack([c for _, c in lasts])
    if form.layout:
        y, y_h, y_c = y.transpose(2, 0, 1, 3), y_h.swapaxes(0, 1), y_c.swapaxes(0, 1)
    return dict(zip(OUTPUTS[form.kind], (y, y_h, y_c), strict=False))


def step(
    form: Form, x: Array, h: Array, c: Array, w: Array, r: Array, bias: Sequence[Array], p: Array | None
) -> list[Array]:
    """Compute the next states."""
    gates = GATES[form.kind]
    from_x = np.split(x @ w.T + bias[0], gates, 1)
    from_h = np.split(h @ r.T + bias[1], gates, 1)
    a = [one + other for one, other in zip(from_x, from_h, strict=True)]
    if form.kind == "RNN":
        return [np.tanh(a[0]), c]
    if form.kind == "GRU":
        z, reset = sigmoid(a[0]), sigmoid(a[1])
        if form.reset_after:
            candidate = np.tanh(from_x[2] + reset * from_h[2])
        else:
            candidate = np.tanh(from_x[2] + (reset * h) @ np.split(r, 3)[2].T + np.split(bias[1], 3)[2])
        return [(1 - z) * candidate + z * h, c]
    p_i, p_o, p_f = np.split(p, 3) if p is not None else (np.zeros(form.units),) * 3
    cell = sigmoid(a[2] + p_f * c) * c + sigmoid(a[0] + p_i * c) * np.tanh(a[3])
    return [sigmoid(a[1] + p_o * cell) * np.tanh(cell), cell]
