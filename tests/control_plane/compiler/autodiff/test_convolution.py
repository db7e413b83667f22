"""The rules of convolutions, in each of the formulations that they choose from.

onnxruntime has no float64 kernels for them, and onnx's reference computes some forms wrongly (a ConvTranspose with
groups, for one). So the nodes stand between two casts and run in float32: what is linear in each input has exact
central differences at any step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.rules import convolution, weight_gradient
from headwater_control.compiler.autodiff.rules.weight_gradient import Layer
from headwater_control.compiler.autodiff.rules.windows import Windows
from headwater_control.compiler.errors import CompileError
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.control_plane.compiler.autodiff.checking import IR, OPSET, Array, check_gradients, evaluator, node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw

FEW = settings(max_examples=25)


def in_float32(kind: str, inputs: Sequence[str], **attributes: Any) -> list[onnx.NodeProto]:
    """Make a node that computes in float32 what comes and goes in float64."""
    casts = [node("Cast", [name], [f"{name}.low"], to=onnx.TensorProto.FLOAT) for name in inputs]
    made = node(kind, [f"{name}.low" for name in inputs], ["y.low"], **attributes)
    return [*casts, made, node("Cast", ["y.low"], ["y"], to=onnx.TensorProto.DOUBLE)]


def check_linear(kind: str, inputs: dict[str, Array], **attributes: Any) -> None:
    """Hold the rule of an operator that is linear in each of its inputs against central differences."""
    made = in_float32(kind, list(inputs), **attributes)
    check_gradients(made, inputs, batch={"x": 0}, step=0.5, relative=1e-4, absolute=1e-4)


@st.composite
def attributes(draw: st.DrawFn, rank: int, *, padded: bool = True) -> dict[str, Any]:
    """Draw a kernel's shape, strides, dilations and padding."""
    side = st.integers(1, 3 if rank < 3 else 2)
    kernel, strides, dilations = (draw(st.lists(side, min_size=rank, max_size=rank)) for _ in range(3))
    found = {"kernel_shape": kernel, "strides": strides, "dilations": dilations}
    form = draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", ""]))
    if form == "pads" and padded:
        return found | {"pads": [draw(st.integers(0, size - 1)) for size in (*kernel, *kernel)]}
    if form.startswith("SAME") and padded:
        # onnxruntime refuses dilations here; and 1.19 crops the image before its first window if strides are longer.
        strides = [min(stride, size + 1) for stride, size in zip(strides, kernel, strict=True)]
        return found | {"auto_pad": form, "dilations": [1] * rank, "strides": strides}
    return found | ({"auto_pad": form} if form == "VALID" else {})


GROUPS = st.sampled_from([(1, 1, 1), (1, 2, 1), (1, 3, 2), (2, 1, 1), (3, 1, 1), (2, 2, 1), (2, 1, 2)])


@FEW
@given(data=st.data(), rank=st.sampled_from([1, 2, 2, 3]), groups=GROUPS, bias=st.booleans())
def test_conv(data: st.DataObject, rank: int, groups: tuple[int, int, int], bias: bool) -> None:
    """Any kernel, stride, dilation, padding and number of groups, along one, two or three axes."""
    group, inputs, outputs = groups
    form = data.draw(attributes(rank))
    spans = [(k - 1) * d + 1 for k, d in zip(form["kernel_shape"], form["dilations"], strict=True)]
    image = [data.draw(st.integers(span, span + 2)) for span in spans]
    w = draw((group * outputs, inputs, *form["kernel_shape"]), seed=1)
    tensors = {"x": draw((2, group * inputs, *image)), "w": w} | ({"b": draw((group * outputs,))} if bias else {})
    check_linear("Conv", tensors, group=group, **form)


@FEW
@given(data=st.data(), rank=st.sampled_from([1, 2, 2, 3]), groups=GROUPS, bias=st.booleans())
def test_conv_transpose(data: st.DataObject, rank: int, groups: tuple[int, int, int], bias: bool) -> None:
    """The same of its adjoint, with whatever of the last stride is added or the output's shape written down."""
    group, inputs, outputs = groups
    form = data.draw(attributes(rank))
    kernel, strides = form["kernel_shape"], form["strides"]
    image = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    natural = [
        (size - 1) * s + (k - 1) * d + 1
        for size, s, k, d in zip(image, strides, kernel, form["dilations"], strict=True)
    ]
    more = data.draw(st.sampled_from(["", "output_padding", "output_shape"]))
    if more == "output_padding" or (more and data.draw(st.booleans())):
        form["output_padding"] = [data.draw(st.integers(0, s - 1)) for s in strides]
    if more == "output_shape":
        form.pop("pads", None)
        sizes = zip(natural, strides, strict=True)
        form["output_shape"] = [data.draw(st.integers(max(1, size - 2), size + s - 1)) for size, s in sizes]
    if "pads" in form:
        assume(all(size > a + b for size, a, b in zip(natural, form["pads"], form["pads"][rank:], strict=False)))
    w = draw((group * inputs, outputs, *kernel), seed=1)
    tensors = {"x": draw((2, group * inputs, *image)), "w": w} | ({"b": draw((group * outputs,))} if bias else {})
    check_linear("ConvTranspose", tensors, group=group, **form)


@st.composite
def layers(draw: st.DrawFn, *, depthwise: bool, group: int | None = None, dense: bool = False) -> Layer:
    """Draw a layer: windows that lie on an image somehow, and channels in groups."""
    rank = draw(st.integers(1, 3))
    sides = st.lists(st.integers(1, 3 if rank < 3 else 2), min_size=rank, max_size=rank).map(tuple)
    counts, kernel, strides, dilations = draw(sides), draw(sides), draw(sides), draw(sides)
    strides = (1,) * rank if dense else strides
    needed = Windows((0,) * rank, counts, kernel, strides, dilations, (0,) * rank)
    before = tuple(draw(st.integers(0, span - 1)) for span in needed.spans)
    # Padding behind the image, or a rest of less than a stride.
    after = tuple(draw(st.integers(1 - s, span - 1)) for s, span in zip(strides, needed.spans, strict=True))
    image = tuple(size - a - b for size, a, b in zip(needed.after, before, after, strict=True))
    assume(min(image) > 0)
    group = draw(st.integers(2, 3) if depthwise else st.integers(1, 2)) if group is None else group
    inputs, outputs = (1, 1) if depthwise else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    windows = Windows(image, counts, kernel, strides, dilations, before)
    return Layer(windows, group * inputs, group * outputs, group, np.float32)


def gathered(layer: Layer, image: Array) -> Array:
    """Give [batch, group, input, place, window] of the image: what each window sees, from its definition."""
    flat = image.reshape(len(image), layer.group, layer.inputs, -1)
    return np.pad(flat, [(0, 0)] * 3 + [(0, 1)])[..., layer.windows.taps().T]


def emitted(g: Emitter, result: str, **feed: Array) -> Array:
    """Run what was emitted."""
    inputs = [helper.make_tensor_value_info(name, 1, values.shape) for name, values in feed.items()]
    graph = helper.make_graph(g.nodes, "graph", inputs, [onnx.ValueInfoProto(name=result)], g.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    return evaluator(onnx.shape_inference.infer_shapes(model))(feed)[result]


WEIGHTS = [weight_gradient.by_columns, weight_gradient.place_by_place, weight_gradient.example_by_example]
WEIGHTS_OF_SINGLE = [weight_gradient.by_all_pairs, weight_gradient.by_shifted_rows]


@pytest.mark.parametrize("formulation", WEIGHTS + WEIGHTS_OF_SINGLE, ids=lambda it: it.__name__)
@FEW
@given(data=st.data())
def test_every_formulation_of_the_weights_gradient(
    formulation: weight_gradient.Formulation, data: st.DataObject
) -> None:
    """Each is Σ image·dy over the windows, whatever the shape it was made for."""
    group = 1 if formulation is weight_gradient.example_by_example else None
    layer = data.draw(layers(depthwise=formulation in WEIGHTS_OF_SINGLE, group=group))
    image = draw((2, layer.image_channels, *layer.windows.image)).astype(np.float32)
    dy = draw((2, layer.window_channels, *layer.windows.counts), seed=1).astype(np.float32)
    deltas = dy.reshape(2, layer.group, layer.outputs, -1)
    expected = np.einsum("bgipw,bgow->goip", gathered(layer, image), deltas).reshape(layer.weight_dims)
    g = Emitter({})
    found = emitted(g, formulation(g, layer, "image", "dy"), image=image, dy=dy)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


IMAGES = [
    (convolution.by_spreading, False),
    (convolution.by_columns, False),
    (convolution.by_turned_weights, False),
    (convolution.by_turned_weights, True),
    (convolution.by_matrices, True),
]


@pytest.mark.parametrize(("formulation", "depthwise"), IMAGES, ids=lambda it: getattr(it, "__name__", f"{it}"))
@FEW
@given(data=st.data())
def test_every_formulation_of_the_images_gradient(
    formulation: weight_gradient.Formulation, depthwise: bool, data: st.DataObject
) -> None:
    """Each is the adjoint of what windows see, where it can be used at all."""
    dense = formulation in (convolution.by_columns, convolution.by_turned_weights)
    layer = data.draw(layers(depthwise=depthwise, group=None if depthwise else 1, dense=dense))
    image = draw((2, layer.image_channels, *layer.windows.image)).astype(np.float32)
    w = draw(layer.weight_dims, seed=1).astype(np.float32)
    dy = draw((2, layer.window_channels, *layer.windows.counts), seed=2).astype(np.float32)
    g = Emitter({})
    found = emitted(g, formulation(g, layer, "w", "dy"), w=w, dy=dy)
    kernel = w.reshape(layer.group, layer.outputs, layer.inputs, -1)
    y = np.einsum("bgipw,goip->bgow", gathered(layer, image), kernel).reshape(dy.shape)
    assert found.shape == image.shape
    np.testing.assert_allclose((found * image).sum(), (dy * y).sum(), rtol=1e-4, atol=1e-4)


def square(inputs: int, outputs: int, side: int, kernel: int, *, stride: int = 1, group: int = 1) -> Layer:
    """Make a layer on square images, padded so that a window lies around each pixel, or around every other."""
    counts = -(-side // stride)
    windows = Windows((side,) * 2, (counts,) * 2, (kernel,) * 2, (stride,) * 2, (1, 1), (kernel // 2,) * 2)
    return Layer(windows, inputs, outputs, group, np.float32)


CHOICES = [
    (square(1, 32, 28, 5), "example_by_example", "by_spreading"),
    (square(32, 64, 14, 5), "by_columns", "by_spreading"),
    (square(64, 64, 8, 3), "by_columns", "by_columns"),
    (square(64, 64, 16, 3), "by_columns", "by_turned_weights"),
    (square(32, 64, 16, 3), "by_columns", "by_spreading"),
    (square(64, 128, 16, 3, stride=2), "by_columns", "by_spreading"),
    (square(64, 64, 56, 3), "place_by_place", "by_turned_weights"),
    (square(64, 128, 16, 1), "example_by_example", "by_turned_weights"),
    (square(512, 512, 4, 1), "by_columns", "by_turned_weights"),
    (square(64, 64, 16, 3, group=64), "by_shifted_rows", "by_turned_weights"),
    (square(64, 64, 16, 3, group=64, stride=2), "by_shifted_rows", "by_spreading"),
    (square(128, 128, 8, 3, group=128), "by_all_pairs", "by_matrices"),
    (square(32, 32, 112, 3, group=32), "place_by_place", "by_turned_weights"),
    (square(64, 64, 16, 3, group=4), "by_columns", "by_spreading"),
]


@pytest.mark.parametrize(("layer", "of_weights", "of_image"), CHOICES)
def test_the_choice_of_a_formulation(layer: Layer, of_weights: str, of_image: str) -> None:
    """It goes by shape; where memory is short, nothing that copies the image many times is chosen."""
    assert weight_gradient.formulation(layer, small_memory=False).__name__ == of_weights
    assert weight_gradient.formulation(layer, small_memory=True) is weight_gradient.place_by_place
    assert convolution.formulation(layer, small_memory=False).__name__ == of_image
    frugal = convolution.formulation(layer, small_memory=True)
    assert frugal in (convolution.by_spreading, convolution.by_turned_weights)


def test_float64() -> None:
    """Constants have the dtype of what they are multiplied with (onnx's reference computes these forms rightly)."""
    x, single = draw((2, 3, 4, 5)), draw((3, 1, 2, 3), seed=1)
    check_gradients(node("Conv", ["x", "w"]), {"x": x, "w": draw((4, 3, 2, 3), seed=1)}, batch={"x": 0})
    check_gradients(node("Conv", ["x", "w"], group=3), {"x": x, "w": single}, batch={"x": 0})


def test_images_that_grow_with_the_batch() -> None:
    """The windows must be known: a size that changes with the batch is refused."""
    inputs = {"x": draw((1, 1, 4)), "w": draw((1, 1, 2))}
    with pytest.raises(CompileError, match="sizes of its images depend on the batch"):
        check_gradients(in_float32("Conv", ["x", "w"]), inputs, batch={"x": 2})


def test_a_batch_of_one_size() -> None:
    """Nothing hangs on the batch being open."""
    inputs = {"x": draw((2, 3, 5)), "w": draw((2, 3, 3), seed=1), "b": draw((2,), seed=2)}
    check_gradients(in_float32("Conv", list(inputs)), inputs, step=0.5, relative=1e-4, absolute=1e-4)
