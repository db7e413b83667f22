"""The rules of poolings and of local response normalization.

In float32 between two casts, as in `test_convolution`; where that is not linear, with larger steps.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from headwater_control.compiler.autodiff.rules import lrn as _lrn  # noqa: F401  (registers)
from headwater_control.compiler.autodiff.rules import pooling as _pooling  # noqa: F401  (registers)
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.control_plane.compiler.autodiff.checking import (
    IR,
    OPSET,
    Array,
    check_gradients,
    evaluator,
    gradient_model,
)
from tests.control_plane.compiler.autodiff.test_arithmetic import draw
from tests.control_plane.compiler.autodiff.test_convolution import attributes, in_float32

FEW = settings(max_examples=25)
SMOOTH = (0.5, 2.0)  # a norm has a kink at 0
RANKS = st.sampled_from([1, 2, 2, 3])


def distinct(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Draw numbers of which no two lie nearer than 1, so that no step changes which is the largest."""
    return np.random.default_rng(seed).permutation(float(np.prod(shape)) - np.arange(np.prod(shape))).reshape(shape)


def check_pooling(kind: str, x: Array, **how: Any) -> None:
    """Hold the rule of a pooling that is linear, at least nearby, against central differences."""
    check_gradients(in_float32(kind, ["x"], **how), {"x": x}, batch={"x": 0}, step=0.25, relative=1e-4, absolute=1e-4)


def check_curved(kind: str, x: Array, **how: Any) -> None:
    """The same where it is not linear."""
    check_gradients(in_float32(kind, ["x"], **how), {"x": x}, batch={"x": 0}, step=2e-2, relative=3e-3, absolute=1e-3)


def slope(nodes: Sequence[onnx.NodeProto], x: Array) -> tuple[Array, Array]:
    """Run the emitted gradient with random numbers for dy; give both."""
    graph = helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("x", 11, [None] * x.ndim)], [onnx.ValueInfoProto(name="y")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    model = onnx.shape_inference.infer_shapes(model)
    dy = np.random.default_rng(1).standard_normal(evaluator(model)({"x": x})["y"].shape)
    gradient = evaluator(gradient_model(model, {"x": x}, {"y": dy}, ["x"], {"x": 0}))
    return gradient({"x": x, "w.y": dy})["d.x"], dy


@st.composite
def pooling(draw: st.DrawFn, rank: int) -> dict[str, Any]:
    """Draw windows that all lie on the image, at least partly: of others runtimes have no common idea."""
    form = draw(attributes(rank))
    if "auto_pad" not in form and draw(st.booleans()):
        form["ceil_mode"] = 1
        form["pads"] = [*form.get("pads", [0] * rank)[:rank], *[0] * rank]
    if form.get("ceil_mode") or form.get("auto_pad", "").startswith("SAME"):
        form["strides"] = [
            min(stride, size) for stride, size in zip(form["strides"], form["kernel_shape"], strict=True)
        ]
    return form


@st.composite
def images(draw: st.DrawFn, form: dict[str, Any]) -> tuple[int, ...]:
    """Draw sizes that hold a window at least."""
    spans = [(k - 1) * d + 1 for k, d in zip(form["kernel_shape"], form["dilations"], strict=True)]
    return (2, 2, *(draw(st.integers(span, span + 3)) for span in spans))


@FEW
@given(data=st.data(), rank=RANKS)
def test_max_pool(data: st.DataObject, rank: int) -> None:
    """Windows that overlap or not, reach into the padding, are dilated, or only partly there."""
    form = data.draw(pooling(rank))
    check_pooling("MaxPool", distinct(data.draw(images(form))), **form)


@FEW
@given(data=st.data(), rank=RANKS)
def test_max_pool_of_windows_side_by_side(data: st.DataObject, rank: int) -> None:
    """The form that needs no indices, with and without a rest at the end."""
    kernel = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    image = [size * data.draw(st.integers(1, 2)) + data.draw(st.integers(0, size - 1)) for size in kernel]
    check_pooling("MaxPool", distinct((2, 2, *image)), kernel_shape=kernel, strides=kernel)


@FEW
@given(data=st.data(), rank=RANKS, counted=st.booleans())
def test_average_pool(data: st.DataObject, rank: int, counted: bool) -> None:
    """The same of averages, whether padding counts or not."""
    form = data.draw(pooling(rank))
    check_pooling("AveragePool", draw(data.draw(images(form))), count_include_pad=int(counted), **form)


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
def test_padding_on_one_side(kind: str, counted: int) -> None:
    """Padding need not be the same before and behind, nor along each axis."""
    how = {"count_include_pad": counted} if kind == "AveragePool" else {}
    x = distinct((2, 2, 5, 4))
    check_pooling(kind, x, kernel_shape=[3, 2], strides=[2, 1], pads=[0, 1, 2, 0], **how)


def first_maxima(x: Array, dy: Array, kernel: int, stride: int) -> Array:
    """Give each dy to the first of the largest numbers of its square window, row by row."""
    dx = np.zeros_like(x)
    for place in np.ndindex(dy.shape):
        corner = tuple(at * stride for at in place[2:])
        window = x[place[:2]][corner[0] : corner[0] + kernel, corner[1] : corner[1] + kernel]
        row, column = np.unravel_index(window.argmax(), window.shape)
        dx[*place[:2], corner[0] + row, corner[1] + column] += dy[place]
    return dx


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 3), (3, 2), (2, 1)])
def test_equal_numbers(kernel: int, stride: int) -> None:
    """The first of equal maxima gets everything, in PyTorch's order: row by row."""
    x = np.random.default_rng(0).integers(0, 3, (2, 3, 7, 6)).astype(np.float64)
    found, dy = slope(in_float32("MaxPool", ["x"], kernel_shape=[kernel] * 2, strides=[stride] * 2), x)
    np.testing.assert_allclose(found, first_maxima(x, dy, kernel, stride), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 2), (2, 2, 2, 3, 2)])
@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
def test_of_whole_images(kind: str, shape: tuple[int, ...]) -> None:
    """Every pixel gets its share, or the largest all."""
    check_pooling(kind, distinct(shape))


def test_equal_numbers_of_whole_images() -> None:
    """The first of equal maxima gets everything."""
    found, dy = slope(in_float32("GlobalMaxPool", ["x"]), np.ones((2, 3, 2, 2)))
    np.testing.assert_allclose(found, dy * np.array([[1, 0], [0, 0]]), atol=1e-5)


@FEW
@given(data=st.data(), rank=RANKS, order=st.integers(1, 3))
def test_lp_pool(data: st.DataObject, rank: int, order: int) -> None:
    """Norms of windows, of any order."""
    form = data.draw(pooling(rank))
    check_curved("LpPool", draw(data.draw(images(form)), *SMOOTH), p=order, **form)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_global_lp_pool(order: int) -> None:
    """Norms of whole images; where all is 0 nothing flows."""
    x = draw((3, 2, 2, 3), *SMOOTH)
    check_curved("GlobalLpPool", x, p=order)
    found, _ = slope(in_float32("GlobalLpPool", ["x"], p=order), np.zeros((2, 3, 2, 2)))
    assert not found.any()


@pytest.mark.parametrize("channels", [1, 3, 7])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_lrn(channels: int, size: int) -> None:
    """Each channel feels those near, fewer at the ends (the runtime takes four axes and odd sizes only)."""
    check_curved("LRN", draw((2, channels, 2, 2)), size=size, alpha=0.8, beta=0.6, bias=1.5)


def test_signs() -> None:
    """A norm grows towards 0 where a number is below."""
    found, dy = slope(in_float32("LpPool", ["x"], kernel_shape=[2], p=3), np.array([[[-2.0, 1.0]]]))
    np.testing.assert_allclose(found, dy * np.array([-4, 1]) / 9 ** (2 / 3), rtol=1e-5)
