"""Where the windows of a convolution or a pooling lie on an image: all of it is known before anything runs.

Along an axis, place k of window o is the image's position o·stride + k·dilation − before. What lies outside the image
is padding. Everything here counts the spatial axes only, those behind the batch and the channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.node import Node

Indices = npt.NDArray[np.int64]
Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Windows:
    """A grid of windows on an image, axis by axis."""

    image: Sizes  # the image's sizes
    counts: Sizes  # how many windows there are
    kernel: Sizes  # how many places a window has
    strides: Sizes
    dilations: Sizes
    before: Sizes  # the padding before the image

    @property
    def rank(self) -> int:
        """Count the axes."""
        return len(self.image)

    @property
    def pixels(self) -> int:
        """Count the image's positions."""
        return prod(self.image)

    @property
    def number(self) -> int:
        """Count the windows."""
        return prod(self.counts)

    @property
    def places(self) -> int:
        """Count the places of a window."""
        return prod(self.kernel)

    @property
    def spans(self) -> Sizes:
        """Measure a window from its first place to its last."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def after(self) -> Sizes:
        """Give the padding behind the image that the last window needs; below 0: what no window reaches."""
        every = zip(self.counts, self.strides, self.spans, self.image, self.before, strict=True)
        return tuple((count - 1) * s + span - size - before for count, s, span, size, before in every)

    @property
    def padded(self) -> bool:
        """Say whether any window reaches into the padding."""
        return any(size > 0 for size in (*self.before, *self.after))

    @property
    def pointwise(self) -> bool:
        """Say whether the windows are the image's positions, in their order."""
        return self.places == 1 and self.image == self.counts and not self.padded

    @property
    def tiling(self) -> bool:
        """Say whether the windows lie side by side, without padding; the image's end may be left over."""
        return self.kernel == self.strides and self.spans == self.kernel and not self.padded

    @property
    def mirrored(self) -> "Windows | None":
        """Give the windows that lie around each pixel on the grid of windows, places reversed; None if these vary."""
        before = tuple(span - 1 - size for span, size in zip(self.spans, self.before, strict=True))
        mirrored = Windows(self.counts, self.image, self.kernel, (1,) * self.rank, self.dilations, before)
        dense = all(s == 1 or count == 1 for s, count in zip(self.strides, self.counts, strict=True))
        return mirrored if dense and min(*before, *mirrored.after) >= 0 else None

    @property
    def attributes(self) -> dict[str, Any]:
        """Give the attributes of a Conv over these windows."""
        pads = [*self.before, *(max(size, 0) for size in self.after)]
        return {"strides": list(self.strides), "dilations": list(self.dilations), "pads": pads}

    def positions(self, axis: int) -> Indices:
        """Give [window, place] → the position along an axis; outside of the image where that is padding."""
        starts = np.arange(self.counts[axis]) * self.strides[axis] - self.before[axis]
        return starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]

    def taps(self) -> Indices:
        """Give [window, place] → the position in the flattened image; `pixels`, one too far, where that is padding."""
        flat: Indices = np.zeros((1, 1), np.int64)
        inside = np.ones((1, 1), bool)
        for axis, size in enumerate(self.image):
            here = self.positions(axis)[None, :, None, :]
            flat = _outer(flat[:, None, :, None] * size + here)
            inside = _outer(inside[:, None, :, None] & (here >= 0) & (here < size))
        return np.where(inside, flat, self.pixels)

    def reach(self) -> npt.NDArray[np.float64]:
        """Give [place, window, pixel]: 1 where a window's place is that pixel of the image, else 0."""
        reach = np.zeros((self.places, self.number, self.pixels + 1))
        window, place = np.indices((self.number, self.places))
        reach[place, window, self.taps()] = 1
        return reach[:, :, :-1]  # the last is padding

    def leading(self) -> "Windows":
        """Give the same along all axes but the last."""
        return self._along(slice(0, -1))

    def along(self, axis: int) -> "Windows":
        """Give the same along one axis alone."""
        return self._along(slice(axis, axis + 1))

    def _along(self, axes: slice) -> "Windows":
        every = (self.image, self.counts, self.kernel, self.strides, self.dilations, self.before)
        return Windows(*(sizes[axes] for sizes in every))

    def spread(self, g: Emitter, values: str, kernel: str, group: int = 1) -> str:
        """Add a kernel times its value at every window: the adjoint of a Conv over these windows."""
        rest = [max(-size, 0) for size in self.after]
        return g.op("ConvTranspose", values, kernel, group=group, output_padding=rest, **self.attributes)


def _outer(pairs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[windows, more windows, places, more places] → [all windows, all places]."""
    return pairs.reshape(pairs.shape[0] * pairs.shape[1], -1)


def on_input(g: Emitter, n: Node, kernel: Sequence[int]) -> Windows:
    """Read the windows that a Conv or a pooling lays on its input."""
    image, counts = spatial(g, n, n.x), spatial(g, n, n.y)
    bare = _unpadded(n, image, counts, kernel)
    same = n.attribute("auto_pad", "NOTSET").startswith("SAME")
    if same and min(bare.after) < -1:  # onnxruntime's releases crop there, each in its own way
        raise n.refused("auto_pad with strides longer than the kernel: export it with pads written out")
    return _padded(n, bare, [max(size, 0) for size in bare.after], same=same)


def on_output(g: Emitter, n: Node, kernel: Sequence[int]) -> Windows:
    """Read the windows that a ConvTranspose adds to its output: one for each position of its input."""
    image, counts = spatial(g, n, n.y), spatial(g, n, n.x)
    bare = _unpadded(n, image, counts, kernel)
    more = n.attribute("output_padding", [0] * bare.rank)
    total = [max(size + extra, 0) for size, extra in zip(bare.after, more, strict=True)]
    same = n.attribute("auto_pad", "NOTSET").startswith("SAME")
    windows = _padded(n, bare, total, same=same or "output_shape" in n.attributes)
    if any(-after >= stride for after, stride in zip(windows.after, windows.strides, strict=True)):
        raise n.refused("a whole stride of its output is out of its reach: onnxruntime takes no such shape")
    return windows


def spatial(g: Emitter, n: Node, name: str) -> Sizes:
    """Give a tensor's sizes behind the batch and the channels; raise `CompileError` if they grow with the batch."""
    sizes = tuple(size for size in g.type(name).dims[2:] if size is not None)
    if len(sizes) < g.type(name).rank - 2:
        raise n.refused("the sizes of its images depend on the batch: export it with fixed ones")
    return sizes


def _unpadded(n: Node, image: Sizes, counts: Sizes, kernel: Sequence[int]) -> Windows:
    ones = [1] * len(image)
    strides, dilations = n.attribute("strides", ones), n.attribute("dilations", ones)
    return Windows(image, counts, tuple(kernel), tuple(strides), tuple(dilations), (0,) * len(image))


def _padded(n: Node, bare: Windows, total: Sequence[int], *, same: bool) -> Windows:
    """Put the padding in its place: what is needed in all, halved, or what is written down."""
    if same:
        small_half_first = n.attribute("auto_pad", "NOTSET") == "SAME_UPPER"
        before = tuple(size // 2 if small_half_first else size - size // 2 for size in total)
    elif n.attribute("auto_pad", "NOTSET") == "VALID":
        before = bare.before
    else:
        before = tuple(n.attribute("pads", [0] * 2 * bare.rank)[: bare.rank])
    return Windows(bare.image, bare.counts, bare.kernel, bare.strides, bare.dilations, before)
