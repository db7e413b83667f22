"""How windows lie on an image. PyTorch pads both sides alike, so what it gets is padded already."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from torch.nn import functional

SIDE_BY_SIDE = "side by side"
FORMS = [SIDE_BY_SIDE, "VALID", "SAME_UPPER", "SAME_LOWER", "padded", "padded"]
RANKS = st.sampled_from([1, 2, 2, 3])  # of the space that windows lie in


@dataclass(frozen=True)
class Windows:
    """The windows along every axis, and the attributes that say so in ONNX."""

    image: list[int]
    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]  # padding
    after: list[int]
    beyond: list[int]  # what the last window needs besides, if it may be there in part
    attributes: dict[str, Any]

    @property
    def rank(self) -> int:
        """Count the axes."""
        return len(self.image)

    @property
    def dense(self) -> bool:
        """Say whether there are no holes in them."""
        return all(step == 1 for step in self.dilations)

    def padded(self, x: Any, value: float = 0.0) -> Any:
        """Pad an image."""
        return functional.pad(x, last_axis_first(self.before, self.after), value=value)

    def extended(self, x: Any, value: float = 0.0) -> Any:
        """Add to a padded image what is beyond it."""
        return functional.pad(x, last_axis_first([0] * self.rank, self.beyond), value=value)


def last_axis_first(befores: list[int], afters: list[int]) -> list[int]:
    """Put paddings in PyTorch's order."""
    return [size for pair in zip(reversed(befores), reversed(afters), strict=True) for size in pair]


def span(kernel: int, dilation: int) -> int:
    """Measure a window from its first place to its last."""
    return (kernel - 1) * dilation + 1


def windows(
    draw: st.DrawFn, *, pooling: bool = False, forms: Sequence[str] = FORMS, largest: int = 3, room: int = 4
) -> Windows:
    """Draw windows that lie side by side, or not, that reach beyond the image, or not; with a pooling, also in part.

    Their sides, strides and dilations are up to `largest`; an image has up to `room` more than one of them.
    """
    rank = draw(RANKS)
    side = st.integers(1, min(largest, 3 if rank < 3 else 2))

    def each(strategy: st.SearchStrategy[int]) -> list[int]:
        return [draw(strategy) for _ in range(rank)]

    form = draw(st.sampled_from(forms))
    kernel, none, ones = each(side), [0] * rank, [1] * rank
    strides = kernel if form == SIDE_BY_SIDE else each(side)
    if form.startswith("SAME"):  # with longer strides the runtime's padding is less than nothing: refused
        strides = [min(stride, size) for stride, size in zip(strides, kernel, strict=True)]
    dilations = each(side) if form in {"VALID", "padded"} else ones  # the runtime has none with SAME
    spans = [span(k, d) for k, d in zip(kernel, dilations, strict=True)]
    image = [draw(st.integers(size, size + room)) for size in spans]
    before, after, beyond = none, none, none
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": dilations}
    if form == "padded":
        before, after = ([draw(st.integers(0, size - 1)) for size in kernel] for _ in range(2))
        attributes["pads"] = before + after
    elif form != SIDE_BY_SIDE:
        attributes["auto_pad"] = form
    if form.startswith("SAME"):
        needed = zip(image, strides, spans, strict=True)
        totals = [max((-(-size // s) - 1) * s + span - size, 0) for size, s, span in needed]
        smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
        before, after = (smaller, larger) if form == "SAME_UPPER" else (larger, smaller)
    if pooling and draw(st.booleans()) and form in {SIDE_BY_SIDE, "padded"}:
        attributes["ceil_mode"] = 1
        sizes = zip(image, before, after, spans, strides, strict=True)
        beyond = [_missing(size + b, a, span, s) for size, b, a, span, s in sizes]
    return Windows(image, kernel, strides, dilations, before, after, beyond, attributes)


def _missing(size: int, after: int, span: int, stride: int) -> int:
    """Count what the last window lacks, if it is there in part; one that begins behind the image is not there."""
    last = -(-(size + after - span) // stride) * stride
    if last >= size:
        last -= stride
    return max(last + span - size - after, 0)
