"""RNN, GRU and LSTM, by PyTorch's own kernels; and the two forms that these have not, step by step."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from tests.control_plane.compiler.autodiff.recurrent import OUTPUTS, Form
from tests.control_plane.compiler.autodiff.test_recurrent import forms
from tests.parity.rules_case import Case, case

OPTIONAL = {"RNN": ["b", "h0"], "GRU": ["b", "h0"], "LSTM": ["b", "h0", "c0", "p"]}
KERNELS: dict[str, Any] = {"RNN": torch.rnn_tanh, "GRU": torch.gru, "LSTM": torch.lstm}
GATES = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}  # where ONNX has PyTorch's


@case(*KERNELS)
def recurrent(draw: st.DrawFn, kind: str) -> Case:
    """In either direction or both, whatever is given, whatever flows back from which output."""
    form = replace(draw(forms(kind, OPTIONAL[kind])), layout=0)  # the runtime has no other layout
    inputs = {name: values.astype(np.float32) for name, values in form.tensors().items()}
    outputs = [name for name in OUTPUTS[kind] if name in form.received]
    known = kind == "RNN" or (kind == "GRU" and form.reset_after) or (kind == "LSTM" and "p" not in inputs)

    def function(*tensors: Any) -> Any:
        given = dict(zip(inputs, tensors, strict=True))
        state = torch.zeros(form.directions, form.batch, form.units)
        given = {"h0": state, "c0": state, **given}
        answers = dict(zip(OUTPUTS[kind], (by_kernel if known else step_by_step)(form, given), strict=True))
        found = [answers[name] for name in outputs]
        return found if len(found) > 1 else found[0]

    batch = {name: axis for name, axis in form.batch_axes().items() if name in inputs}
    return Case(form.node(), inputs, function, batch=batch if draw(st.booleans()) else {}, outputs=outputs)


def by_kernel(form: Form, given: dict[str, Any]) -> tuple[Any, ...]:
    """Run PyTorch's kernel, for all directions."""
    weights = []
    for direction in range(form.directions):
        own = [given["w"][direction], given["r"][direction]]
        own += given["b"][direction].chunk(2) if "b" in given else []
        chunks = [tensor.chunk(len(GATES[form.kind])) for tensor in own]
        weights += [torch.cat([parts[place] for place in GATES[form.kind]]) for parts in chunks]
    reverse, both = form.direction == "reverse", form.direction == "bidirectional"
    x = given["x"].flip(0) if reverse else given["x"]
    states = (given["h0"], given["c0"]) if form.kind == "LSTM" else given["h0"]
    y, *last = KERNELS[form.kind](x, states, weights, "b" in given, 1, 0.0, False, both, False)
    y = y.flip(0) if reverse else y
    return y.unflatten(-1, (form.directions, form.units)).transpose(1, 2), *last


def step_by_step(form: Form, given: dict[str, Any]) -> tuple[Any, ...]:
    """Run a GRU that resets before the product, or an LSTM with peepholes, by its formulas in ONNX's documentation."""
    ways = []
    for direction in range(form.directions):
        own = {name: tensor[direction] for name, tensor in given.items() if name != "x"}
        own.setdefault("b", torch.zeros(2 * own["w"].shape[0]))
        turned = form.direction == "reverse" or direction == 1
        h, c, made = own["h0"], own["c0"], []
        for x in given["x"].flip(0) if turned else given["x"]:
            h, c = gru_step(own, x, h) if form.kind == "GRU" else lstm_step(own, x, h, c)
            made.append(h)
        ways.append((torch.stack(made[::-1] if turned else made), h, c))
    y, *last = (torch.stack(parts, 1 if place == 0 else 0) for place, parts in enumerate(zip(*ways, strict=True)))
    return (y, *last)[: len(OUTPUTS[form.kind])]


def gru_step(own: dict[str, Any], x: Any, h: Any) -> tuple[Any, Any]:
    """Reset h, and multiply it by the recurrent weights then."""
    bias_w, bias_r = own["b"].chunk(2)
    a_z, a_r, a_c = (x @ own["w"].T + bias_w + bias_r).chunk(3, 1)
    r_z, r_r, r_c = own["r"].chunk(3)
    z, r = torch.sigmoid(a_z + h @ r_z.T), torch.sigmoid(a_r + h @ r_r.T)
    return (1 - z) * torch.tanh(a_c + (r * h) @ r_c.T) + z * h, h


def lstm_step(own: dict[str, Any], x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """Let the gates see the cell."""
    bias_w, bias_r = own["b"].chunk(2)
    p_i, p_o, p_f = own["p"].chunk(3)
    a_i, a_o, a_f, a_u = (x @ own["w"].T + h @ own["r"].T + bias_w + bias_r).chunk(4, 1)
    c_before = c
    c = torch.sigmoid(a_f + p_f * c_before) * c_before + torch.sigmoid(a_i + p_i * c_before) * torch.tanh(a_u)
    return torch.sigmoid(a_o + p_o * c) * torch.tanh(c), c
