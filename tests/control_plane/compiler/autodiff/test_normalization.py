"""The rules of normalizations, over the shapes and forms that ONNX allows."""

from typing import Any

import onnxruntime
import pytest
from headwater_control.compiler.autodiff.rules import normalization  # noqa: F401  (registers)
from headwater_control.compiler.errors import CompileError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.control_plane.compiler.autodiff.checking import Array, check_gradients, node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw

SIDES = st.integers(1, 3)
BROADCASTS = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 20)  # the scale of a LayerNormalization


def affine(*shape: int) -> dict[str, Array]:
    """Draw a scale and a bias."""
    return {"scale": draw(shape, seed=1), "bias": draw(shape, seed=2)}


@given(shape=arrays.array_shapes(min_dims=1, max_dims=4, max_side=4), data=st.data())
@settings(max_examples=30, deadline=None)
def test_layers(shape: tuple[int, ...], data: Any) -> None:
    """Over the last axes, from any on, with a bias or without, for a batch on any axis before."""
    first = data.draw(st.integers(0, len(shape) - 1))
    axis = data.draw(st.sampled_from([first, first - len(shape)]))
    batch = data.draw(st.none() | st.integers(0, first - 1)) if first else None
    inputs = {"x": draw(shape)} | affine(*shape[first:])
    if data.draw(st.booleans()):
        del inputs["bias"]
    layer = node("LayerNormalization", list(inputs), axis=axis, epsilon=0.1)
    check_gradients(layer, inputs, batch={} if batch is None else {"x": batch})


def test_layers_by_default() -> None:
    """The axis is the last, and ε is small."""
    inputs = {"x": draw((2, 3, 5))} | affine(5)
    check_gradients(node("LayerNormalization", list(inputs)), inputs, batch={"x": 0})


@pytest.mark.parametrize("axis", [1, 2])
def test_layers_that_tell_their_statistics(axis: int) -> None:
    """Mean and InvStdDev are made use of; they are float32, even of float64."""
    shape = (2, 3, 4)
    inputs = {"x": draw(shape)} | affine(*shape[axis:])
    layer = node("LayerNormalization", list(inputs), ["y", "mean", "inverse"], axis=axis)
    check_gradients(layer, inputs, batch={"x": 0}, relative=1e-4, absolute=1e-5)


def test_layers_whose_statistics_are_used() -> None:
    """What flows back from Mean or InvStdDev is refused, with what to do about it."""
    inputs = {"x": draw((2, 3))} | affine(3)
    nodes = [node("LayerNormalization", list(inputs), ["normal", "mean"]), node("Cast", ["mean"], ["same"], to=11)]
    nodes.append(node("Add", ["normal", "same"]))
    with pytest.raises(CompileError, match="by ReduceMean"):
        check_gradients(nodes, inputs)


@pytest.mark.skipif(not BROADCASTS, reason="onnxruntime 1.19 wants scale and bias as large as what is normalized")
@pytest.mark.parametrize(
    ("axis", "scale", "bias"),
    [(-1, (1,), (4,)), (-1, (3, 1), (2, 3, 4)), (1, (4,), (3, 1)), (1, (3, 4), (4,)), (0, (3, 4), (4,)), (-1, (), ())],
)
def test_layers_with_a_scale_that_broadcasts(axis: int, scale: tuple[int, ...], bias: tuple[int, ...]) -> None:
    """Scale and bias may be of any shape that broadcasts, and the batch's axis among those normalized."""
    inputs = {"x": draw((2, 3, 4)), "scale": draw(scale, seed=1), "bias": draw(bias, seed=2)}
    batch = {} if len(bias) == 3 else {"x": 0}
    check_gradients(node("LayerNormalization", list(inputs), axis=axis), inputs, batch=batch)


@given(shape=arrays.array_shapes(min_dims=2, max_dims=5, max_side=4), growing=st.booleans())
@settings(max_examples=20, deadline=None)
def test_a_batch_by_running_statistics(shape: tuple[int, ...], growing: bool) -> None:
    """Those are constants; each channel has its scale and bias."""
    inputs = {"x": draw(shape)} | affine(shape[1])
    constants = {"mean": draw((shape[1],), seed=3), "variance": draw((shape[1],), 0.5, 2, seed=4)}
    batch = node("BatchNormalization", [*inputs, *constants], epsilon=0.1)
    check_gradients(batch, inputs, constants=constants, batch={"x": 0} if growing else {})


@given(shape=arrays.array_shapes(min_dims=2, max_dims=5, max_side=4), axis=st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_a_batch_by_its_own_statistics(shape: tuple[int, ...], axis: int) -> None:
    """The gradient knows of the mean and the variance, whichever of the axes that they are of grows."""
    inputs = {"x": draw(shape)} | affine(shape[1])
    constants = {"mean": draw((shape[1],), seed=3), "variance": draw((shape[1],), 0.5, 2, seed=4)}
    names = ["y", "running_mean", "running_variance"]
    batch = node("BatchNormalization", [*inputs, *constants], names, epsilon=0.1, training_mode=1)
    growing = {"x": axis} if axis < len(shape) and axis != 1 else {}
    check_gradients(batch, inputs, constants=constants, batch=growing)


@given(n=SIDES, channels=SIDES, space=st.lists(st.integers(1, 4), min_size=1, max_size=3), axis=st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_instances(n: int, channels: int, space: list[int], axis: int) -> None:
    """Over all of space, for each channel of each example, whichever axis grows."""
    inputs = {"x": draw((n, channels, *space))} | affine(channels)
    growing = {"x": axis} if axis < 2 + len(space) and axis != 1 else {}
    check_gradients(node("InstanceNormalization", list(inputs), epsilon=0.1), inputs, batch=growing)


@given(n=SIDES, groups=SIDES, channels=SIDES, space=st.lists(SIDES, max_size=3), axis=st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_groups(n: int, groups: int, channels: int, space: list[int], axis: int) -> None:
    """Over the channels of a group and all of space; each channel has its scale and bias."""
    inputs = {"x": draw((n, groups * channels, *space))} | affine(groups * channels)
    growing = {"x": axis} if axis < 2 + len(space) and axis != 1 else {}
    group = node("GroupNormalization", list(inputs), num_groups=groups, epsilon=0.1, stash_type=11)
    check_gradients(group, inputs, batch=growing)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_unit_length(p: int, axis: int | None) -> None:
    """Along any axis, by either norm, for a batch of any size."""
    attributes: dict[str, Any] = {"p": p} if axis is None else {"p": p, "axis": axis}
    check_gradients(node("LpNormalization", ["x"], **attributes), {"x": draw((3, 2, 4))}, batch={"x": 0})


@pytest.mark.parametrize("axes", [[0, 2, 3], [0], [-1], [1, 2], [0, 1, 2, 3]])
def test_mean_and_variance(axes: list[int]) -> None:
    """Over any axes, the batch's included.

    In float32, as no runtime has it in float64; and onnx's checker refuses the axes it has by default.
    """
    nodes = [node("Cast", ["x"], ["low"], to=1), node("MeanVarianceNormalization", ["low"], ["high"], axes=axes)]
    nodes.append(node("Cast", ["high"], to=11))
    x = draw((3, 2, 4, 2), -4, 4)
    check_gradients(nodes, {"x": x}, batch={"x": 0}, step=1e-2, relative=1e-3, absolute=1e-3)
