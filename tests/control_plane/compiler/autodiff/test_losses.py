"""The losses, in float64: their values against numpy, their slopes against central differences."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.losses import label_type, objective
from headwater_control.compiler.autodiff.types import TensorType
from headwater_wire.graphs import LABEL
from headwater_wire.manifest import Loss, TensorSpec
from onnx import helper

from tests.control_plane.compiler.autodiff.checking import IR, OPSET, evaluator

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[Any]
CLASSES = 4
PLAIN = Loss("cross_entropy", "y", TensorSpec("label", "int64", ()), CLASSES)
WEIGHTS = (0.5, 2.0, 1.0, 0.25)


def run(loss: Loss, y: Doubles, label: Labels | None) -> dict[str, Any]:
    """Compute what a loss tells of a batch; "slope" is times −0.5."""
    kind = TensorType(y.dtype, (None, *y.shape[1:]))
    types = {"y": kind}
    if (labelled := label_type(loss, kind)) is not None:
        types[LABEL] = labelled
    g = Emitter(types)
    goal = objective(loss, g, g.constant(np.array(-0.5)))
    told = {"loss": goal.loss, "slope": goal.slope, "correct": goal.correct, "error": goal.absolute_error}
    outputs = [name for name in told.values() if name]
    inputs = [helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, [None] * y.ndim)]
    feed: dict[str, Any] = {"y": y}
    if label is not None:
        number = helper.np_dtype_to_tensor_dtype(label.dtype)
        inputs.append(helper.make_tensor_value_info(LABEL, number, [None] * label.ndim))
        feed[LABEL] = label
    values = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph(g.nodes, "loss", inputs, values, g.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    found = evaluator(onnx.shape_inference.infer_shapes(model))(feed)
    return {name: found[tensor] for name, tensor in told.items() if tensor}


def check(loss: Loss, y: Doubles, label: Labels | None, value: float) -> dict[str, Any]:
    """Hold the value against the expected one, and the slope against differences of it."""
    found = run(loss, y, label)
    assert found["loss"] == pytest.approx(value, rel=1e-9, abs=1e-12)
    slope = np.zeros_like(y)
    for place in np.ndindex(y.shape):
        moved = [y.copy(), y.copy()]
        moved[0][place] += 1e-6
        moved[1][place] -= 1e-6
        up, down = (run(loss, values, label)["loss"] for values in moved)
        slope[place] = -0.5 * (up - down) / 2e-6
    np.testing.assert_allclose(found["slope"], slope, rtol=1e-5, atol=1e-8)
    return found


def cross_entropy(loss: Loss, y: Doubles, label: Labels) -> float:
    """Add up −q·log p, example by example and place by place, as its definition says."""
    weights = loss.weights or (1.0,) * CLASSES
    scores = np.moveaxis(y, loss.class_axis, -1).reshape(-1, CLASSES)
    total = weight_sum = 0.0
    for row, wanted in zip(scores, label.reshape(-1), strict=True):
        if wanted == loss.ignore:
            continue
        log_p = row - np.log(np.exp(row).sum())
        share = loss.smoothing / CLASSES
        total -= (1 - loss.smoothing) * weights[wanted] * log_p[wanted]
        total -= share * sum(weight * each for weight, each in zip(weights, log_p, strict=True))
        weight_sum += weights[wanted]
    return total / weight_sum


@pytest.mark.parametrize(
    "options",
    [{}, {"smoothing": 0.2}, {"weights": WEIGHTS}, {"ignore": 1}, {"smoothing": 0.1, "weights": WEIGHTS, "ignore": 3}],
)
@pytest.mark.parametrize("shape", [(5, CLASSES), (2, CLASSES, 3), (2, CLASSES, 2, 2), (2, 3, CLASSES)])
def test_cross_entropy(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    """One label an example, a pixel or a token, on any axis, with every option, and what is right is counted."""
    random = np.random.default_rng(0)
    axis = -1 if shape[-1] == CLASSES else 1
    y = random.standard_normal(shape)
    label = random.integers(0, CLASSES, np.delete(shape, axis))
    loss = replace(PLAIN, class_axis=axis, label=TensorSpec("label", "int64", label.shape[1:]), **options)
    found = check(loss, y, label, cross_entropy(loss, y, label))
    counts = label != loss.ignore if loss.ignore is not None else np.ones(label.shape, bool)
    right = (y.argmax(axis) == label) & counts
    assert found["correct"] == pytest.approx(right.sum() / counts.sum() * len(y))


def test_a_batch_whose_every_label_is_ignored_moves_nothing() -> None:
    """The loss is 0 and not NaN."""
    found = run(replace(PLAIN, ignore=2), np.ones((3, CLASSES)), np.full(3, 2))
    assert (found["loss"], np.abs(found["slope"]).max(), found["correct"]) == (0, 0, 0)


def test_bce_with_logits() -> None:
    """−y·log σ(x) − (1 − y)·log(1 − σ(x)), also where the exponential would overflow."""
    random = np.random.default_rng(1)
    x, y = random.standard_normal((4, 3)), random.integers(0, 2, (4, 3)).astype(np.float64)
    chance = 1 / (1 + np.exp(-x))
    loss = Loss("bce_with_logits", "y", TensorSpec("label", "float64", (3,)))
    found = check(loss, x, y, float(-(y * np.log(chance) + (1 - y) * np.log(1 - chance)).mean()))
    assert found["correct"] == pytest.approx(((x > 0) == (y > 0.5)).mean(axis=1).sum())
    assert run(loss, np.array([[1000.0, -1000.0, 0.0]]), np.array([[0.0, 1.0, 1.0]]))["loss"] == pytest.approx(666.8977)


REGRESSIONS: dict[str, Callable[[Doubles], Doubles]] = {
    "mse": lambda e: e**2,
    "l1": np.abs,
    "huber": lambda e: np.where(np.abs(e) <= 0.7, e**2 / 2, 0.7 * (np.abs(e) - 0.35)),
}


@pytest.mark.parametrize("kind", sorted(REGRESSIONS))
@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 3, 2)])
def test_regressions(kind: str, shape: tuple[int, ...]) -> None:
    """The mean over all numbers; the absolute error is each example's mean, added up."""
    random = np.random.default_rng(2)
    y, label = random.standard_normal(shape), random.standard_normal(shape)
    loss = Loss(kind, "y", TensorSpec("label", "float64", shape[1:]), delta=0.7)
    found = check(loss, y, label, float(REGRESSIONS[kind](y - label).mean()))
    assert found["error"] == pytest.approx(np.abs(y - label).reshape(len(y), -1).mean(axis=1).sum())


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_a_model_s_own_loss(shape: tuple[int, ...]) -> None:
    """Its mean is minimised, and there is no label."""
    y = np.random.default_rng(3).standard_normal(shape)
    assert set(check(Loss("output", "y", None), y, None, float(y.mean()))) == {"loss", "slope"}
