"""Convolutions and their transposes."""

from typing import Any

from hypothesis import strategies as st
from torch.nn import functional

from tests.control_plane.compiler.autodiff.checking import node
from tests.parity.rules_case import Case, case, maybe_growing, numbers
from tests.parity.rules_windows import last_axis_first, span, windows

CONVOLUTIONS: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSES: dict[int, Any] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
# Groups, and the channels in and out of each, with limits of the windows. The rules choose other formulations for
# single channels, for many, and for points.
GROUPS = [(1, 1, 1), (1, 3, 2), (2, 2, 1), (3, 1, 2), (2, 2, 3), (2, 1, 1)]
FORMS: dict[str, tuple[list[tuple[int, int, int]], dict[str, Any]]] = {
    "Conv": (GROUPS, {}),
    "Conv of many channels": ([(1, 33, 34), (1, 40, 1)], {"largest": 2}),
    "Conv of points": ([(1, 3, 2), (1, 20, 25)], {"largest": 1}),
    "Conv of single channels": ([(2, 1, 1), (5, 1, 1)], {"room": 9}),
}


@case(*FORMS)
def conv(draw: st.DrawFn, kind: str) -> Case:
    """Any kernel, stride, dilation, padding and number of groups, along one, two or three axes."""
    groups, limits = FORMS[kind]
    grid = windows(draw, **limits)
    group, inputs, outputs = draw(st.sampled_from(groups))
    tensors = {
        "x": numbers(draw, (draw(st.integers(1, 3)), group * inputs, *grid.image)),
        "w": numbers(draw, (group * outputs, inputs, *grid.kernel)),
    }
    if draw(st.booleans()):
        tensors["b"] = numbers(draw, (group * outputs,))

    def function(x: Any, w: Any, b: Any = None) -> Any:
        return CONVOLUTIONS[grid.rank](grid.padded(x), w, b, grid.strides, 0, grid.dilations, group)

    batch = maybe_growing(draw, x=tensors["x"])
    return Case(node("Conv", list(tensors), group=group, **grid.attributes), tensors, function, batch=batch)


@case("ConvTranspose")
def conv_transpose(draw: st.DrawFn, kind: str) -> Case:
    """The same of its adjoint, with whatever is cut off at either end, added at the last, or left to the node."""
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    side = st.integers(1, 3 if rank < 3 else 2)
    image, kernel, strides, dilations = ([draw(side) for _ in range(rank)] for _ in range(4))
    spans = [span(k, d) for k, d in zip(kernel, dilations, strict=True)]
    form = draw(st.sampled_from(["pads", "output_shape", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if form.startswith("SAME"):  # else something would be to be added
        strides = [min(s, span) for s, span in zip(strides, spans, strict=True)]
    natural = [(size - 1) * s + span for size, s, span in zip(image, strides, spans, strict=True)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "dilations": dilations}
    before, after, more = [0] * rank, [0] * rank, [0] * rank
    if form == "pads":
        before, after = ([draw(st.integers(0, size - 1)) for size in kernel] for _ in range(2))
        more = [draw(st.integers(0, s - 1)) for s in strides]
        after = [min(a, size - b - 1) for size, b, a in zip(natural, before, after, strict=True)]  # leave something
        attributes |= {"pads": before + after, "output_padding": more}
    elif form == "VALID":
        attributes["auto_pad"] = form
    else:
        if form == "output_shape":
            wanted = [draw(st.integers(max(1, size - 2), size)) for size in natural]
            attributes["output_shape"] = wanted
        else:
            wanted = [size * s for size, s in zip(image, strides, strict=True)]
            attributes["auto_pad"] = form
        totals = [size - left for size, left in zip(natural, wanted, strict=True)]
        smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
        before, after = (smaller, larger) if form == "SAME_UPPER" else (larger, smaller)
    group, inputs, outputs = draw(st.sampled_from(GROUPS))
    tensors = {
        "x": numbers(draw, (draw(st.integers(1, 3)), group * inputs, *image)),
        "w": numbers(draw, (group * inputs, outputs, *kernel)),
    }
    if draw(st.booleans()):
        tensors["b"] = numbers(draw, (group * outputs,))

    def function(x: Any, w: Any, b: Any = None) -> Any:
        y = TRANSPOSES[rank](x, w, None, strides, 0, 0, group, dilations)
        ends = [extra - size for size, extra in zip(after, more, strict=True)]
        y = functional.pad(y, last_axis_first([-size for size in before], ends))
        return y if b is None else y + b.reshape(-1, *[1] * rank)

    batch = maybe_growing(draw, x=tensors["x"])
    return Case(node(kind, list(tensors), group=group, **attributes), tensors, function, batch=batch)
