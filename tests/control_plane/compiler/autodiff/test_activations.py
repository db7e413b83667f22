"""The rules of activations, away from their kinks, and of Dropout."""

from typing import Any

import numpy as np
import onnx
import pytest
from headwater_control.compiler.autodiff.rules import activations  # noqa: F401  (registers)
from headwater_control.compiler.errors import CompileError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import numpy_helper

from tests.control_plane.compiler.autodiff.checking import check_gradients, evaluator, gradient_model, node
from tests.control_plane.compiler.autodiff.test_arithmetic import Array, away_from, draw

KINKS = (-3.0, -2.5, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 2.5, 3.0)  # of all of them
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("Relu", {}),
    ("LeakyRelu", {}),
    ("LeakyRelu", {"alpha": 0.3}),
    ("LeakyRelu", {"alpha": 0.0}),
    ("LeakyRelu", {"alpha": -0.5}),
    ("LeakyRelu", {"alpha": 1.5}),
    ("ThresholdedRelu", {}),
    ("ThresholdedRelu", {"alpha": -0.5}),
    ("Elu", {}),
    ("Elu", {"alpha": 0.5}),
    ("Elu", {"alpha": -0.5}),
    ("Selu", {}),
    ("Selu", {"alpha": 1.5, "gamma": 2.0}),
    ("Sigmoid", {}),
    ("HardSigmoid", {}),
    ("HardSigmoid", {"alpha": -0.5, "beta": 0.25}),
    ("HardSwish", {}),
    ("Tanh", {}),
    ("Gelu", {"approximate": "tanh"}),
    ("Softplus", {}),
    ("Softsign", {}),
    ("Mish", {}),
]


@pytest.mark.parametrize(("kind", "attributes"), FORMS)
@given(shape=arrays.array_shapes(min_dims=1, max_dims=3, max_side=4), seed=st.integers(0, 99))
@settings(max_examples=5, deadline=None)
def test_the_slope(kind: str, attributes: dict[str, Any], shape: tuple[int, ...], seed: int) -> None:
    """Each has its slope, on either side of its kinks, for a batch of any size."""
    x = away_from(draw(shape, -4, 4, seed), KINKS)
    check_gradients(node(kind, ["x"], **attributes), {"x": x}, batch={"x": seed % x.ndim})


@pytest.mark.parametrize("alpha", [1.0, 0.5, -2.0])
def test_celu(alpha: float) -> None:
    """The same of Celu, which ONNX defines for float32 only."""
    x = away_from(draw((3, 4), -4, 4), KINKS)
    nodes = [node("Cast", ["x"], ["low"], to=1), node("Celu", ["low"], ["high"], alpha=alpha)]
    nodes.append(node("Cast", ["high"], to=11))
    check_gradients(nodes, {"x": x}, batch={"x": 0}, step=5e-3, relative=1e-3, absolute=1e-4)


def test_gelu() -> None:
    """The same of Gelu by erf, which both runtimes compute in float32."""
    check_gradients(node("Gelu", ["x"]), {"x": draw((3, 4))}, batch={"x": 0}, step=1e-2, relative=1e-3, absolute=1e-4)


@pytest.mark.parametrize("slope", [(), (1,), (4,), (3, 1), (2, 3, 4)])
def test_prelu(slope: tuple[int, ...]) -> None:
    """The slope gets its gradient too, summed over what it is broadcast to."""
    x = away_from(draw((2, 3, 4)), (0.0,))
    batch = {"x": 0} if len(slope) < 3 else {"x": 0, "slope": 0}
    check_gradients(node("PRelu", ["x", "slope"]), {"x": x, "slope": draw(slope, seed=1)}, batch=batch)


@pytest.mark.parametrize("low", [-1.0, None])
@pytest.mark.parametrize("high", [0.5, -1.5, None])
def test_clip(low: float | None, high: float | None) -> None:
    """Nothing flows where the values are clipped, be it on one side, on both, or everywhere since the bounds cross."""
    bounds = {"low": low, "high": high}
    constants = {name: np.array(value) for name, value in bounds.items() if value is not None}
    names = ["x", *(name if name in constants else "" for name in bounds)]
    x = away_from(draw((3, 4)), KINKS)
    check_gradients(node("Clip", names), {"x": x}, constants=constants, batch={"x": 0})


def test_clip_by_a_bound_that_is_computed() -> None:
    """The bound may be any tensor; nothing flows to it."""
    nodes = [node("ReduceMax", ["x"], ["top"], keepdims=0), node("Mul", ["top", "half"], ["high"])]
    nodes += [node("Identity", ["z"], ["free"]), node("Clip", ["free", "", "high"])]
    inputs = {"x": draw((3, 4), 0, 1), "z": draw((3, 4), seed=1)}
    check_gradients(nodes, inputs, constants={"half": np.array(0.5)}, wrt=["z"])


@pytest.mark.parametrize("inputs", [["x"], ["x", "ratio"], ["x", "", "training"], ["x", "ratio", "training"]])
def test_dropout_at_rest(inputs: list[str]) -> None:
    """Everything passes while it does not train."""
    constants = {"ratio": np.array(0.3), "training": np.array(False)}
    used = {name: constants[name] for name in inputs if name in constants}
    check_gradients(node("Dropout", inputs), {"x": draw((3, 4))}, constants=used, batch={"x": 0})


@pytest.mark.parametrize("ratio", [None, 0.0, 0.3])
def test_dropout_in_training(ratio: float | None) -> None:
    """What was kept is scaled on the way back as on the way there; what was dropped gets nothing."""
    x, w = draw((5, 8), 0.5, 1), draw((5, 8), seed=1)
    model = gradient_model(_dropout(["y", "mask"], ratio), {"x": x}, {"y": w}, ["x"], {"x": 0})
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("y", "mask"))
    found = evaluator(model)({"x": x, "w.y": w})
    kept = 0.5 if ratio is None else 1 - ratio
    assert found["mask"].any()
    np.testing.assert_allclose(found["y"], found["mask"] * x / kept)
    np.testing.assert_allclose(found["d.x"], found["mask"] * w / kept)


def test_dropout_that_does_not_tell_what_it_drops() -> None:
    """It is refused, with what to do about it."""
    x = draw((5, 8))
    with pytest.raises(CompileError, match="make its mask an output"):
        gradient_model(_dropout(["y"], 0.3), {"x": x}, {"y": x}, ["x"], {"x": 0})


def test_nothing_flows_where_a_relu_is_shut() -> None:
    """At 0 itself the slope is 0, as in PyTorch."""
    x: Array = np.array([-1.0, 0.0, 1.0])
    relu = onnx.helper.make_graph([node("Relu", ["x"])], "graph", [_vector("x")], [_vector("y")])
    found = evaluator(gradient_model(_model(relu), {"x": x}, {"y": np.ones(3)}, ["x"], {}))
    np.testing.assert_array_equal(found({"x": x, "w.y": np.ones(3)})["d.x"], [0, 0, 1])


def _dropout(outputs: list[str], ratio: float | None) -> onnx.ModelProto:
    constants = {"training": np.array(True)} | ({} if ratio is None else {"ratio": np.array(ratio)})
    names = ["x", "" if ratio is None else "ratio", "training"]
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    double = onnx.TensorProto.DOUBLE
    x, y = (onnx.helper.make_tensor_value_info(name, double, [None, 8]) for name in "xy")
    return _model(onnx.helper.make_graph([node("Dropout", names, outputs)], "graph", [x], [y], initializers))


def _vector(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [3])


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
