"""Poolings: over windows, and over whole images."""

from collections.abc import Sequence
from math import prod

import numpy as np

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule
from headwater_control.compiler.autodiff.rules.separable import back_along, unit
from headwater_control.compiler.autodiff.rules.windows import Sizes, Windows, on_input, spatial


@rule("MaxPool")
def max_pool(g: Emitter, n: Node, dy: str, _indices: str = "") -> Gradients:
    """Flow to the first maximum of each window, as PyTorch does."""
    windows = on_input(g, n, n.attributes["kernel_shape"])
    if windows.tiling:
        return (_through_maxima(g, n, windows, dy),)
    return (_scattered(g, n, dy),)


@rule("AveragePool")
def average_pool(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = Mᵀ·dy along each axis, for an average is a matrix along each; without overlap, dy/size repeated."""
    windows = on_input(g, n, n.attributes["kernel_shape"])
    if windows.tiling and not any(windows.after):
        return (_repeated(g, g.mul(dy, g.number(1 / windows.places, n.x)), windows),)
    for axis in reversed(range(windows.rank)):  # the last axis first: that product leaves less for the others
        dy = back_along(g, dy, axis + 2, windows.rank + 2, _averages(g, n, windows, axis))
    return (dy,)


@rule("LpPool")
def lp_pool(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = (Σ |x|^p)^(1/p): dx = sign(x)·|x|^(p−1) · Σ dy/y^(p−1), over the windows around x; 0 where y is."""
    windows = on_input(g, n, n.attributes["kernel_shape"])
    share = _share_of_norm(g, n, dy)
    for axis in reversed(range(windows.rank)):
        reach = windows.along(axis).reach().sum(axis=0)
        share = back_along(g, share, axis + 2, windows.rank + 2, g.constant(reach, g.type(n.x).dtype))
    return (g.mul(_slope_of_power(g, n), share),)


@rule("GlobalAveragePool")
def global_average_pool(g: Emitter, n: Node, dy: str) -> Gradients:
    """dx = dy/size, everywhere."""
    image = spatial(g, n, n.x)
    return (g.op("Expand", g.mul(dy, g.number(1 / prod(image), n.x)), g.constant([1, 1, *image])),)


@rule("GlobalMaxPool")
def global_max_pool(g: Emitter, n: Node, dy: str) -> Gradients:
    """Flow to the first maximum of each channel."""
    channels, pixels = g.type(n.x).size(1), prod(spatial(g, n, n.x))
    first = g.op("ArgMax", g.reshape(n.x, (None, channels, pixels)), axis=2, keepdims=1)
    chosen = g.mask(g.op("Equal", first, g.constant(np.arange(pixels))), n.x)
    return (g.reshape_like(g.mul(g.reshape(dy, (None, channels, 1)), chosen), n.x),)


@rule("GlobalLpPool")
def global_lp_pool(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = (Σ |x|^p)^(1/p): dx = sign(x)·|x|^(p−1) · dy/y^(p−1); 0 where y is."""
    return (g.mul(_slope_of_power(g, n), _share_of_norm(g, n, dy)),)


# -- the maximum


def _through_maxima(g: Emitter, n: Node, windows: Windows, dy: str) -> str:
    """Go back through one axis at a time: first to the row that holds the maximum, then to its place there.

    For windows side by side. Asking a MaxPool for its indices makes it 13 times as slow, and 22 with two threads; this
    whole gradient takes half of that.
    """
    kernel, counts, channels = windows.kernel, windows.counts, g.type(n.x).size(1)
    used = tuple(count * size for count, size in zip(counts, kernel, strict=True))
    axes = [axis for axis, size in enumerate(kernel) if size > 1]
    stages = []
    values = _cut(g, n.x, windows.image, used)
    for axis in reversed(axes):
        # What lies before the axis; its windows; their places; what lies behind, and is pooled already.
        outer, inner = channels * prod(used[:axis]), prod(counts[axis + 1 :])
        values = g.reshape(values, (None, outer, counts[axis], kernel[axis], inner))
        places = g.ops("Split", kernel[axis], values, axis=3, num_outputs=kernel[axis])
        dims = (None, outer, counts[axis], 1, inner)
        values = g.op("Max", *places) if axis != axes[0] else g.reshape(n.y, dims)
        stages.append((places, values, dims))
    for places, best, dims in reversed(stages):
        dy = _to_first(g, n, places, best, g.reshape(dy, dims))
    return _uncut(g, g.reshape(dy, (None, channels, *used)), windows.image, used)


def _to_first(g: Emitter, n: Node, places: Sequence[str], best: str, rest: str) -> str:
    """Give what comes back to the first place that holds the maximum; the last place gets what is left."""
    parts = []
    for place in places[:-1]:
        part = g.mul(rest, g.mask(g.op("GreaterOrEqual", place, best), n.x))
        rest = g.sub(rest, part)
        parts.append(part)
    return g.op("Concat", *parts, rest, axis=3)


def _cut(g: Emitter, image: str, sizes: Sizes, used: Sizes) -> str:
    """Leave off what no window reaches."""
    if sizes == used:
        return image
    axes = [axis + 2 for axis in range(len(sizes))]
    return g.op("Slice", image, g.constant([0] * len(sizes)), g.constant(used), g.constant(axes))


def _uncut(g: Emitter, grad: str, sizes: Sizes, used: Sizes) -> str:
    """Put zeros there."""
    if sizes == used:
        return grad
    rest = [size - taken for size, taken in zip(sizes, used, strict=True)]
    return g.op("Pad", grad, g.constant([0] * (len(sizes) + 4) + rest))


def _scattered(g: Emitter, n: Node, dy: str) -> str:
    """Add up at the indices of the maxima, however windows overlap."""
    attributes = {name: value for name, value in n.attributes.items() if name != "storage_order"}
    _, places = g.ops("MaxPool", 2, n.x, **attributes)
    image = g.reshape(n.x, (None,))
    zeros = g.op("Expand", g.number(0, n.x), g.op("Shape", image))
    sums = g.op("ScatterElements", zeros, g.reshape(places, (None,)), g.reshape(dy, (None,)), axis=0, reduction="add")
    return g.reshape_like(sums, n.x)


# -- averages and norms


def _repeated(g: Emitter, grad: str, windows: Windows) -> str:
    """Repeat each number over its window."""
    scales = g.constant(np.array([1, 1, *windows.kernel], np.float32))
    nearest = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    return g.op("Resize", grad, "", scales, mode="nearest", **nearest)


def _averages(g: Emitter, n: Node, windows: Windows, axis: int) -> str:
    """Name the matrix [windows, pixels] of one axis: what the pooling makes of the identity matrix.

    So padding counts, or not, just as in the forward pass.
    """
    rank, size = windows.rank, windows.image[axis]
    attributes = dict(n.attributes)
    for name in ("kernel_shape", "strides", "dilations"):
        if name in attributes:
            attributes[name] = [attributes[name][axis]]
    if "pads" in attributes:
        attributes["pads"] = [attributes["pads"][axis], attributes["pads"][rank + axis]]
    pixels = g.op("AveragePool", g.reshape(unit(g, size, n.x), (size, 1, size)), **attributes)
    return g.transpose(g.reshape(pixels, (size, windows.counts[axis])), (1, 0))


def _share_of_norm(g: Emitter, n: Node, dy: str) -> str:
    """dy/y^(p−1), and 0 where y is 0."""
    order = n.attribute("p", 2)
    if order == 1:
        return dy
    power = n.y if order == 2 else g.op("Pow", n.y, g.number(order - 1, n.y))
    zero = g.number(0, n.y)
    positive = g.op("Greater", n.y, zero)
    return g.op("Where", positive, g.div(dy, g.op("Where", positive, power, g.number(1, n.y))), zero)


def _slope_of_power(g: Emitter, n: Node) -> str:
    """sign(x)·|x|^(p−1)."""
    order = n.attribute("p", 2)
    if order == 2:
        return n.x
    sign = g.op("Sign", n.x)
    return sign if order == 1 else g.mul(sign, g.op("Pow", g.op("Abs", n.x), g.number(order - 1, n.x)))
