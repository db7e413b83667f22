"""The gradient of a convolution's weights: for each place of the kernel, the image seen from there times dy.

In several formulations, because their speed differs by up to twenty times, and which is best turns with the shape.
Measured on x86-64 with onnxruntime 1.31.1, one and two threads; times relative to PyTorch 2.13 stand at each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.rules.windows import Windows

# Limits of what a formulation may write down, in numbers.
COLUMNS = 1 << 20  # per example: copies of the image at every place of the kernel; beyond, memory is what is slow
PAIRS = 64 * 64  # per channel: every pixel with every window
ROWS = 48  # each with each: from 56 on, most of that is in vain


@dataclass(frozen=True, slots=True)
class Layer:
    """What a convolution connects: channels of the image to channels of the windows, in groups."""

    windows: Windows
    image_channels: int
    window_channels: int
    group: int
    dtype: npt.DTypeLike

    @property
    def inputs(self) -> int:
        """Count a group's channels of the image."""
        return self.image_channels // self.group

    @property
    def outputs(self) -> int:
        """Count a group's channels of the windows."""
        return self.window_channels // self.group

    @property
    def weight_dims(self) -> tuple[int, ...]:
        """Give the shape of the weights."""
        return (self.window_channels, self.inputs, *self.windows.kernel)

    @property
    def depthwise(self) -> bool:
        """Say whether every channel is convolved by itself."""
        return self.inputs == self.outputs == 1 and self.group > 1

    @property
    def small_maps(self) -> bool:
        """Say whether a matrix of all pixels with all windows is small."""
        return self.windows.pixels * self.windows.number <= PAIRS

    def constant(self, g: Emitter, values: npt.NDArray[np.float64]) -> str:
        """Add a constant of the layer's dtype."""
        return g.constant(values, self.dtype)


# Called with the emitter, the layer, and the names of what is multiplied.
Formulation = Callable[[Emitter, Layer, str, str], str]


def weight_gradient(g: Emitter, layer: Layer, image: str, dy: str) -> str:
    """Emit Σ image[window's place]·dy over all windows of all examples: [window channels, inputs, *kernel]."""
    return formulation(layer, small_memory=g.small_memory)(g, layer, image, dy)


def formulation(layer: Layer, *, small_memory: bool) -> Formulation:
    """Choose by shape."""
    windows, inputs, outputs = layer.windows, layer.inputs, layer.outputs
    if small_memory:
        return place_by_place
    if layer.depthwise and layer.small_maps:
        return by_all_pairs
    if layer.depthwise:
        return by_shifted_rows if windows.leading().pixels <= ROWS else place_by_place
    if layer.group == 1:
        # Sums a product per example, which is more to read and write than transposing both sides if maps are small.
        if windows.pointwise and inputs * outputs < (inputs + outputs) * windows.number:
            return example_by_example
        if inputs * windows.places <= 32:
            return example_by_example
    if layer.image_channels * windows.places * windows.number > COLUMNS:
        return place_by_place
    return by_columns


def by_columns(g: Emitter, layer: Layer, image: str, dy: str) -> str:
    """Gather the image once for each place of the kernel; then it is one product over all windows.

    With the batch as last axis the Gather moves runs of numbers, and the product has its many rows on the left, where
    onnxruntime splits them. 1.3 to 2 of PyTorch's time; a Conv with swapped axes takes up to 5 times as long.
    """
    windows = layer.windows
    columns = _batch_last(g, image, layer.image_channels, windows.pixels)
    if not windows.pointwise:
        if windows.padded:  # by one pixel: all padding is read from there
            columns = g.op("Pad", columns, g.constant([0, 0, 0, 0, 1, 0]))
        columns = g.op("Gather", columns, g.constant(windows.taps().T.reshape(-1), np.int32), axis=1)
    deltas = _batch_last(g, dy, layer.window_channels, windows.number)
    product = _product(g, layer, columns, layer.inputs * windows.places, deltas)
    # The Reshape also keeps onnxruntime from turning product and Transpose into a product of few rows.
    product = g.reshape(product, (layer.group, layer.inputs, windows.places, layer.outputs))
    return g.reshape(g.transpose(product, (0, 3, 1, 2)), layer.weight_dims)


def example_by_example(g: Emitter, layer: Layer, image: str, dy: str) -> str:
    """Multiply for each example, and sum: dy is not transposed, and a Conv makes the columns.

    For few places and channels, or none but one place: 0.65 to 1.5 of PyTorch's time.
    """
    windows, rows = layer.windows, layer.inputs * layer.windows.places
    if not windows.pointwise:
        unit = np.eye(rows).reshape(rows, layer.inputs, *windows.kernel)
        image = g.op("Conv", image, layer.constant(g, unit), **windows.attributes)
    columns = g.reshape(image, (None, rows, windows.number))
    rows_dy = g.reshape(dy, (None, layer.window_channels, windows.number))
    product = g.op("MatMul", rows_dy, g.transpose(columns, (0, 2, 1)))
    return g.reshape(g.reduce_sum(product, (0,), keepdims=False), layer.weight_dims)


def by_all_pairs(g: Emitter, layer: Layer, image: str, dy: str) -> str:
    """For small maps of single channels: multiply every window with every pixel, and add up what belongs to a place."""
    windows = layer.windows
    pixels = g.transpose(g.reshape(image, (None, layer.image_channels, windows.pixels)), (1, 0, 2))
    deltas = g.transpose(g.reshape(dy, (None, layer.image_channels, windows.number)), (1, 2, 0))
    pairs = g.reshape(g.op("MatMul", deltas, pixels), (layer.image_channels, windows.number * windows.pixels))
    reach = layer.constant(g, windows.reach().reshape(windows.places, -1))
    return g.reshape(g.op("Gemm", pairs, reach, transB=1), layer.weight_dims)


def by_shifted_rows(g: Emitter, layer: Layer, image: str, dy: str) -> str:
    """For single channels: the same of rows, each seen from every place along the last axis.

    2.5 to 3 of PyTorch's time, which has a kernel of its own; place by place takes 3.5 to 6 of it.
    """
    windows, channels = layer.windows, layer.image_channels
    rows, places = windows.pixels // windows.image[-1], windows.kernel[-1]
    row = g.transpose(image, (*range(1, windows.rank + 2), 0))
    row = g.reshape(row, (channels, rows, windows.image[-1], None))
    along = windows.positions(windows.rank - 1).T.reshape(-1)
    outside = (along < 0) | (along >= windows.image[-1])
    if outside.any():
        row = g.op("Pad", row, g.constant([0, 0, 0, 0, 0, 0, 1, 0]))
    shifted = g.op("Gather", row, g.constant(np.where(outside, windows.image[-1], along)), axis=2)
    shifted = g.reshape(shifted, (channels, rows * places, None))
    deltas = g.transpose(dy, (*range(1, windows.rank + 2), 0))
    deltas = g.reshape(deltas, (channels, windows.number // windows.counts[-1], None))
    pairs = g.op("MatMul", shifted, g.transpose(deltas, (0, 2, 1)))
    selection = _row_selection(windows)
    pairs = g.reshape(pairs, (channels, selection.shape[1]))
    return g.reshape(g.op("Gemm", pairs, layer.constant(g, selection), transB=1), layer.weight_dims)


def place_by_place(g: Emitter, layer: Layer, image: str, dy: str) -> str:
    """Slice the image for one place of the kernel after the other: no more than one copy of it at a time.

    1.2 to 1.7 of the time of the columns.
    """
    windows = layer.windows
    axes = list(range(1, windows.rank + 1))
    image = g.transpose(image, (*range(1, windows.rank + 2), 0))
    if windows.padded:
        after = [max(size, 0) for size in windows.after]
        image = g.op("Pad", image, g.constant([0, *windows.before, 0, 0, *after, 0]))
    deltas = _batch_last(g, dy, layer.window_channels, windows.number)
    products = []
    for place in np.ndindex(windows.kernel):
        start = [at * step for at, step in zip(place, windows.dilations, strict=True)]
        end = [at + (n - 1) * step + 1 for at, n, step in zip(start, windows.counts, windows.strides, strict=True)]
        bounds = (g.constant(values) for values in (start, end, axes, windows.strides))
        product = _product(g, layer, g.op("Slice", image, *bounds), layer.inputs, deltas)
        products.append(g.reshape(product, (1, layer.group, layer.inputs, layer.outputs)))
    stacked = g.op("Concat", *products, axis=0)
    return g.reshape(g.transpose(stacked, (1, 3, 2, 0)), layer.weight_dims)


def _batch_last(g: Emitter, name: str, channels: int, size: int) -> str:
    """[batch, channels, …] → [channels, size, batch]."""
    return g.transpose(g.reshape(name, (None, channels, size)), (1, 2, 0))


def _product(g: Emitter, layer: Layer, columns: str, rows: int, deltas: str) -> str:
    """Multiply, in each group, rows of the image with those of dy: [group, rows, outputs], in some shape."""
    if layer.group == 1:
        sides = [g.reshape(columns, (rows, None)), g.reshape(deltas, (layer.outputs, None))]
        return g.op("Gemm", *sides, transB=1)
    columns = g.reshape(columns, (layer.group, rows, None))
    deltas = g.reshape(deltas, (layer.group, layer.outputs, None))
    return g.op("MatMul", columns, g.transpose(deltas, (0, 2, 1)))


def _row_selection(windows: Windows) -> npt.NDArray[np.float64]:
    """Give [place, (row of pixels, place in the row, row of windows)]: 1 where these belong to the place."""
    within = np.eye(windows.kernel[-1])
    selection: npt.NDArray[np.float64] = np.einsum("pwr,ij->pirjw", windows.leading().reach(), within)
    return selection.reshape(windows.places, -1)
