"""Convolutions and their transposes, along any number of axes."""

import numpy as np

from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.rules.registry import Gradients, Node, rule
from headwater_control.compiler.autodiff.rules.weight_gradient import Formulation, Layer, weight_gradient
from headwater_control.compiler.autodiff.rules.windows import Windows, on_input, on_output, spatial


@rule("Conv")
def conv(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = x ∗ w + b: dx adds w·dy at every window; dw = Σ x·dy over the windows; db = Σ dy."""
    windows = on_input(g, n, spatial(g, n, n.inputs[1]))
    layer = _layer(g, n, windows, image=n.x, other=n.y)
    return _image_gradient(g, layer, n.inputs[1], dy), weight_gradient(g, layer, n.x, dy), _bias_gradient(g, n, dy)


@rule("ConvTranspose")
def conv_transpose(g: Emitter, n: Node, dy: str) -> Gradients:
    """y adds w·x at every window, + b: dx = dy ∗ w; dw = Σ dy·x over the windows; db = Σ dy."""
    windows = on_output(g, n, spatial(g, n, n.inputs[1]))
    layer = _layer(g, n, windows, image=n.y, other=n.x)
    dx = g.op("Conv", dy, n.inputs[1], group=layer.group, **windows.attributes)
    return dx, weight_gradient(g, layer, dy, n.x), _bias_gradient(g, n, dy)


def _layer(g: Emitter, n: Node, windows: Windows, *, image: str, other: str) -> Layer:
    channels = (g.type(image).size(1), g.type(other).size(1))
    return Layer(windows, *channels, n.attribute("group", 1), g.type(n.x).dtype)


def _bias_gradient(g: Emitter, n: Node, dy: str) -> str:
    return g.reduce_sum(dy, [axis for axis in range(g.type(n.y).rank) if axis != 1], keepdims=False)


# -- the gradient of the image that a Conv reads, in the formulation that is fastest for the shape


def _image_gradient(g: Emitter, layer: Layer, w: str, dy: str) -> str:
    return formulation(layer, small_memory=g.small_memory)(g, layer, w, dy)


def formulation(layer: Layer, *, small_memory: bool) -> Formulation:
    """Choose by shape; measured as in `weight_gradient`, with two threads where they disagree with one."""
    windows, fewer, more = layer.windows, layer.window_channels, layer.image_channels
    if layer.depthwise and layer.small_maps and not small_memory:
        return by_matrices
    if layer.depthwise and windows.mirrored:
        return by_turned_weights
    if layer.group == 1 and windows.mirrored:
        # Few pixels and many channels: the weights are the larger side, and operators read them for each example.
        if windows.pixels <= 64 and min(fewer, more) >= 32 and windows.places > 1 and not small_memory:
            return by_columns
        # A Conv copies dy once for each place, a ConvTranspose writes x once for each place, and with one thread only.
        if windows.places == 1 or (windows.places <= 9 and fewer <= more):
            return by_turned_weights
    return by_spreading


def by_spreading(g: Emitter, layer: Layer, w: str, dy: str) -> str:
    """Use the operator that is made for it: 1.3 to 1.7 of PyTorch's time with one thread, 2 to 3 with two."""
    return layer.windows.spread(g, dy, w, layer.group)


def by_turned_weights(g: Emitter, layer: Layer, w: str, dy: str) -> str:
    """Convolve dy with the kernel seen from its other end.

    For a kernel of one place 0.5 to 0.8 of the time of spreading, else 1.2 with one thread and 0.5 to 0.9 with two.
    """
    mirrored = layer.windows.mirrored
    assert mirrored is not None
    axes = list(range(2, mirrored.rank + 2))
    if layer.windows.places > 1:
        last, beyond = [-1] * mirrored.rank, [np.iinfo(np.int64).min] * mirrored.rank
        w = g.op("Slice", w, *(g.constant(values) for values in (last, beyond, axes, last)))
    if layer.group == 1:
        w = g.transpose(w, (1, 0, *axes))
    return g.op("Conv", dy, w, group=layer.group, **mirrored.attributes)


def by_matrices(g: Emitter, layer: Layer, w: str, dy: str) -> str:
    """Write each channel's kernel as the matrix [windows, pixels] that it is: half the time of spreading."""
    windows, channels = layer.windows, layer.image_channels
    reach = g.constant(windows.reach().reshape(windows.places, -1), layer.dtype)
    matrices = g.op("Gemm", g.reshape(w, (channels, windows.places)), reach)
    deltas = g.transpose(g.reshape(dy, (None, channels, windows.number)), (1, 0, 2))
    pixels = g.op("MatMul", deltas, g.reshape(matrices, (channels, windows.number, windows.pixels)))
    return g.reshape(g.transpose(pixels, (1, 0, 2)), (None, channels, *windows.image))


def by_columns(g: Emitter, layer: Layer, w: str, dy: str) -> str:
    """Gather dy at every window that a pixel is part of; then it is one product over all examples.

    0.5 to 0.9 of the time of spreading.
    """
    windows, mirrored = layer.windows, layer.windows.mirrored
    assert mirrored is not None
    deltas = g.transpose(g.reshape(dy, (None, layer.window_channels, windows.number)), (0, 2, 1))
    if mirrored.padded:  # by one window: all padding is read from there
        deltas = g.op("Pad", deltas, g.constant([0, 0, 0, 0, 1, 0]))
    deltas = g.op("Gather", deltas, g.constant(mirrored.taps()[:, ::-1].reshape(-1), np.int32), axis=1)
    terms = windows.places * layer.window_channels
    w = g.transpose(g.reshape(w, (layer.window_channels, layer.image_channels, windows.places)), (2, 0, 1))
    pixels = g.op("Gemm", g.reshape(deltas, (None, terms)), g.reshape(w, (terms, layer.image_channels)))
    pixels = g.transpose(g.reshape(pixels, (None, windows.pixels, layer.image_channels)), (0, 2, 1))
    return g.reshape(pixels, (None, layer.image_channels, *windows.image))
