"""How a loss is spelled, and what it asks of the output it reads."""

import onnx
import pytest
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.losses import choose
from headwater_wire.manifest import Loss, TensorSpec

from tests.control_plane.compiler.graphs import N, info, model, weights

PIXELS = (TensorSpec("y", "float32", (3, 4, 4)),)
TOKENS = (TensorSpec("y", "float32", (6, 30)),)


def graph(operator: str = "Identity", **attributes: int) -> onnx.GraphProto:
    """Make a graph that ends with an operator."""
    nodes = [N("MatMul", ["x", "w"], ["a"]), N(operator, ["a"], ["y"], name="last", **attributes)]
    return model(nodes, {"w": weights(8, 3)}, [info("x", ["b", 8])]).graph


def test_options_are_read() -> None:
    """Each option of a loss, and a label for each pixel or token."""
    loss, _ = choose(graph(), PIXELS, "cross_entropy:smoothing=0.1,ignore=255,weights=1/2/0.5", "")
    label = TensorSpec("label", "int64", (4, 4))
    assert loss == Loss("cross_entropy", "y", label, 3, smoothing=0.1, ignore=255, weights=(1.0, 2.0, 0.5))
    loss, _ = choose(graph(), TOKENS, "cross_entropy:class_axis=-1", "")
    assert loss == Loss("cross_entropy", "y", TensorSpec("label", "int64", (6,)), 30, class_axis=-1)
    assert choose(graph(), PIXELS, "huber:delta=0.5", "")[0].delta == 0.5
    assert choose(graph(), PIXELS, "output", "")[0] == Loss("output", "y", None)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("hinge", "there is no loss 'hinge'; choose one of cross_entropy"),
        ("mse:delta=1", r"the loss mse has no option 'delta' \(it has none\)"),
        ("cross_entropy:gamma=1", r"no option 'gamma' \(it has class_axis, smoothing, ignore, weights\)"),
        ("cross_entropy:smoothing=much", "smoothing is 'much', which is no number"),
        ("cross_entropy:smoothing=1", "smoothing is a share, at least 0 and below 1"),
        ("cross_entropy:weights=1/2", "there are 2 class weights"),
        ("cross_entropy:weights=1/-2/1", "a class weight is negative"),
        ("cross_entropy:weights=1/nan/1", "finite numbers only"),
        ("cross_entropy:class_axis=4", "its axis 4 holds no classes"),
        ("huber:delta=0", "delta must be above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(wanted: str, told: str) -> None:
    """With what would."""
    with pytest.raises(CompileError, match=told):
        choose(graph(), PIXELS, wanted, "")


def test_a_softmax_over_another_axis_stays() -> None:
    """Only what the loss itself contains is left out of training."""
    outputs = (TensorSpec("y", "float32", (3, 5)),)
    assert choose(graph("Softmax", axis=1), outputs, "cross_entropy", "")[0].output == "a"
    assert choose(graph("Softmax", axis=2), outputs, "cross_entropy", "")[0].output == "y"
    assert choose(graph("Softmax", axis=2), outputs, "cross_entropy:class_axis=-1", "")[0].output == "a"
