"""The rules of RNN, GRU and LSTM.

Neither runtime computes them in float64, so the forward pass is written out in `recurrent`, and held against the
runtime's in float32. The derivative that is emitted for the real node runs in float64, on the outputs of that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from headwater_control.compiler.autodiff.backward import backward
from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.rules import gru, lstm, rnn  # noqa: F401  (registers)
from headwater_control.compiler.autodiff.types import TensorType
from headwater_control.compiler.errors import CompileError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.control_plane.compiler.autodiff.checking import IR, OPSET, check_gradients, evaluator, node
from tests.control_plane.compiler.autodiff.recurrent import OUTPUTS, Array, Form, forward

STEP = 1e-5


def emitted(form: Form, given: Mapping[str, Array], weights: Mapping[str, Array], *, grows: bool) -> dict[str, Array]:
    """Run what is emitted for the node, in float64, on the outputs of the forward pass."""
    tensors = {**given, **forward(form, given)}
    axes = form.batch_axes() if grows else {}
    g = Emitter({name: typed(values, axes.get(name)) for name, values in tensors.items()})
    graph = helper.make_graph([form.node()], "graph", [], [])
    names = backward(graph, {}, {name: f"w.{name}" for name in weights}, list(given), g)
    feed = {**tensors, **{f"w.{name}": values for name, values in weights.items()}}
    made = helper.make_graph(
        [*g.nodes, *(node("Identity", [made], [f"d.{name}"]) for name, made in names.items())],
        "graph",
        [double(name, values.ndim) for name, values in feed.items()],
        [double(f"d.{name}", given[name].ndim) for name in names],
        g.initializers,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model, full_check=True)
    return evaluator(model)(feed)


def typed(values: npt.NDArray[Any], batch: int | None) -> TensorType:
    """Tell a tensor's type, given the axis that grows."""
    return TensorType(values.dtype, tuple(None if axis == batch else size for axis, size in enumerate(values.shape)))


def double(name: str, rank: int) -> onnx.ValueInfoProto:
    """Declare a float64 tensor of any shape."""
    return helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [None] * rank)


def check(form: Form, *, grows: bool = True) -> None:
    """Compare the emitted gradients of Σ w·output, with random w, with central differences."""
    given = form.tensors()
    random = np.random.default_rng(1)
    answers = forward(form, given)
    weights = {name: random.standard_normal(answers[name].shape) for name in sorted(form.received)}
    found = emitted(form, given, weights, grows=grows)

    def loss(changed: Mapping[str, Array]) -> float:
        answers = forward(form, changed)
        return sum(float((weights[name] * answers[name]).sum()) for name in weights)

    for name, values in given.items():
        expected = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            moved = np.zeros_like(values)
            moved[place] = STEP
            expected[place] = loss({**given, name: values + moved}) - loss({**given, name: values - moved})
        np.testing.assert_allclose(
            found[f"d.{name}"], expected / (2 * STEP), rtol=1e-6, atol=1e-8, err_msg=f"the gradient of {name}"
        )


def forms(kind: str, optional: Sequence[str]) -> st.SearchStrategy[Form]:
    """Draw nodes of a kind."""
    size = st.integers(1, 3)
    return st.builds(
        Form,
        st.just(kind),
        direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
        layout=st.integers(0, 1),
        reset_after=st.integers(0, 1) if kind == "GRU" else st.just(0),
        steps=size,
        batch=size,
        inputs=size,
        units=size,
        given=st.frozensets(st.sampled_from(optional)),
        received=st.frozensets(st.sampled_from(OUTPUTS[kind]), min_size=1),
    )


@given(form=forms("RNN", ["b", "h0"]), grows=st.booleans())
@settings(max_examples=20)
def test_rnn(form: Form, grows: bool) -> None:
    """Every input gets its gradient, whatever flows back from which output, for a batch of any size."""
    check(form, grows=grows)


@given(form=forms("GRU", ["b", "h0"]), grows=st.booleans())
@settings(max_examples=30)
def test_gru(form: Form, grows: bool) -> None:
    """The same, with the reset gate before or after the product with the recurrent weights."""
    check(form, grows=grows)


@given(form=forms("LSTM", ["b", "h0", "c0", "p"]), grows=st.booleans())
@settings(max_examples=30)
def test_lstm(form: Form, grows: bool) -> None:
    """The same, for two states that flow, with peepholes or without."""
    check(form, grows=grows)


@given(form=st.one_of(forms("RNN", ["b", "h0"]), forms("GRU", ["b", "h0"]), forms("LSTM", ["b", "h0", "c0", "p"])))
@settings(max_examples=30)
def test_the_formulas_are_the_runtimes(form: Form) -> None:
    """What the gradients are held against is what the real node computes (the runtime has the first layout only)."""
    form = replace(form, layout=0)
    given = form.tensors()
    graph = helper.make_graph(
        in_float32(form, OUTPUTS[form.kind]),
        "graph",
        [double(name, values.ndim) for name, values in given.items()],
        [double(name, 4 if name == "y" else 3) for name in OUTPUTS[form.kind]],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    found, expected = evaluator(model)(given), forward(form, given)
    for name in OUTPUTS[form.kind]:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(OUTPUTS))
@pytest.mark.parametrize("outputs", [["y"], ["", "y_h"], ["y", "y_h"]])
def test_the_real_node_in_float32(kind: str, outputs: list[str]) -> None:
    """Forwards and backwards in one graph, also where the node keeps its last state only."""
    form = Form(kind, "bidirectional", given=frozenset({"b", "h0"}))
    inputs = form.tensors()
    grow = {name: axis for name, axis in form.batch_axes().items() if name in inputs}
    kept = [name for name in outputs if name]
    nodes = in_float32(form, outputs)
    check_gradients(nodes, inputs, batch=grow, outputs=kept, step=1e-2, relative=1e-2, absolute=1e-3)


def test_a_gradient_of_the_last_cell_alone() -> None:
    """What the node leaves out at its end, or in the middle, is not missed."""
    form = Form("LSTM")
    nodes = in_float32(form, ["", "", "y_c"])
    inputs = form.tensors()
    check_gradients(nodes, inputs, batch={"x": 1}, outputs=["y_c"], step=1e-2, relative=1e-2, absolute=1e-3)


@pytest.mark.parametrize("kind", sorted(OUTPUTS))
def test_long_sequences_stay_small(kind: str) -> None:
    """The graph does not grow with the steps."""
    short, long = (len(derive(Form(kind, steps=steps)).nodes) for steps in (2, 500))
    assert short == long


DEFAULTS = {"RNN": ["tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


@pytest.mark.parametrize("kind", sorted(OUTPUTS))
def test_defaults_may_be_written_out(kind: str) -> None:
    """Activations that are the default's, for each direction, and lengths that are the whole sequence's do no harm."""
    form = Form(kind, "bidirectional", given=frozenset({"lengths"}), attributes={"activations": DEFAULTS[kind] * 2})
    derive(form, lengths=[3, 3])


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (Form("RNN", attributes={"activations": ["Relu"]}), "activations are Relu: only Tanh"),
        (Form("GRU", attributes={"activations": ["HardSigmoid", "Tanh"]}), "only Sigmoid, Tanh"),
        (Form("LSTM", attributes={"activations": ["Sigmoid", "Tanh", "Relu"]}), "only Sigmoid, Tanh, Tanh"),
        (Form("LSTM", attributes={"clip": 3.0}), "'clip'"),
        (Form("LSTM", attributes={"input_forget": 1}), "'input_forget'"),
        (Form("GRU", given=frozenset({"lengths"})), "input 4 .*computed"),
    ],
)
def test_what_is_refused(form: Form, reason: str) -> None:
    """The reason names what is not supported."""
    with pytest.raises(CompileError, match=reason):
        derive(form)


def test_shorter_sequences_are_refused() -> None:
    """A length that is not all of the sequence is no constant to be left out."""
    with pytest.raises(CompileError, match="differ in length"):
        derive(Form("LSTM", given=frozenset({"lengths"})), lengths=[3, 2])


def test_steps_that_grow_with_the_batch_are_refused() -> None:
    """Time and batch can't be told apart then."""
    form = Form("LSTM")
    types = {name: typed(values, None) for name, values in form.tensors().items()}
    types["x"] = TensorType(np.dtype(np.float64), (None, None, 2))
    with pytest.raises(CompileError, match="grows with the batch"):
        derive(form, types=types)


def derive(
    form: Form, *, lengths: Sequence[int] | None = None, types: Mapping[str, TensorType] | None = None
) -> Emitter:
    """Emit the derivative of a node, and run nothing."""
    constants = {} if lengths is None else {"lengths": np.array(lengths, np.int32)}
    tensors: dict[str, npt.NDArray[Any]] = {**form.tensors(), **constants}
    known = types or {name: typed(values, None) for name, values in tensors.items()}
    g = Emitter(known)
    backward(helper.make_graph([form.node()], "graph", [], []), constants, {"y": "dy"}, ["x", "w"], g)
    return g


def in_float32(form: Form, outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """Put a node between casts, as the runtime computes it in float32 only."""
    real = form.node(outputs)
    low = node(form.kind, *([name and f"low.{name}" for name in names] for names in (real.input, real.output)))
    low.attribute.extend(real.attribute)
    return [
        *(node("Cast", [name], [f"low.{name}"], to=onnx.TensorProto.FLOAT) for name in real.input if name),
        low,
        *(node("Cast", [f"low.{name}"], [name], to=onnx.TensorProto.DOUBLE) for name in outputs if name),
    ]
