"""The rules of operators that move numbers about."""

from typing import Any

import numpy as np
import pytest
from headwater_control.compiler.autodiff.rules import movement, slicing  # noqa: F401  (registers)
from headwater_control.compiler.errors import CompileError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.control_plane.compiler.autodiff.checking import check_gradients, node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=3)
FEW = settings(max_examples=40)


def whole(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Make a vector of whole numbers."""
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("kind", "steering", "attributes"),
    [
        ("Reshape", (0, -1), {}),
        ("Reshape", (-1,), {}),
        ("Flatten", None, {}),
        ("Flatten", None, {"axis": 0}),
        ("Flatten", None, {"axis": -1}),
        ("Squeeze", None, {}),
        ("Squeeze", (-2,), {}),
        ("Unsqueeze", (0, -1), {}),
    ],
)
@pytest.mark.parametrize("batch", [{}, {"x": 0}])
def test_shapes(kind: str, steering: tuple[int, ...] | None, attributes: dict[str, Any], batch: dict[str, int]) -> None:
    """Every number keeps its place, whatever the shape says."""
    constants = {} if steering is None else {"s": whole(*steering)}
    reshape = node(kind, ["x", *constants], **attributes)
    check_gradients(reshape, {"x": draw((2, 3, 1, 4))}, constants=constants, batch=batch)


@given(shape=SHAPES, data=st.data())
@FEW
def test_transpose(shape: tuple[int, ...], data: st.DataObject) -> None:
    """Any permutation is undone; without one, the axes are turned around."""
    order = data.draw(st.none() | st.permutations(range(len(shape))))
    attributes: dict[str, Any] = {} if order is None else {"perm": order}
    check_gradients(node("Transpose", ["x"], **attributes), {"x": draw(shape)}, batch={"x": 0})


@given(shape=SHAPES, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), data=st.data())
@FEW
def test_concat(shape: tuple[int, ...], sizes: list[int], data: st.DataObject) -> None:
    """Along any axis, the batch too."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    growing = data.draw(st.integers(0, len(shape) - 1))
    inputs = {}
    for place, size in enumerate(sizes):
        sides = list(shape)
        sides[axis] = size
        inputs[f"x{place}"] = draw(tuple(sides), seed=place)
    check_gradients(node("Concat", list(inputs), axis=axis), inputs, batch=dict.fromkeys(inputs, growing))


def test_a_row_before_a_batch() -> None:
    """A part that grows with the batch may follow one that does not."""
    inputs = {"a": draw((1, 2)), "b": draw((3, 2), seed=1)}
    check_gradients(node("Concat", ["a", "b"], axis=0), inputs, batch={"b": 0})


@pytest.mark.parametrize("sizes", [None, (1, 4, 2), (3, 0, 4)])
@pytest.mark.parametrize("used", [("a",), ("b", "c"), ("a", "b", "c")])
@pytest.mark.parametrize("axis", [1, -1])
def test_split(sizes: tuple[int, ...] | None, used: tuple[str, ...], axis: int) -> None:
    """Parts from which nothing flows back are zero; the last of equal parts may be smaller."""
    constants = {"s": whole(*sizes)} if sizes else {}
    attributes = {} if sizes else {"num_outputs": 3}
    split = node("Split", ["x", *constants], ["a", "b", "c"], axis=axis, **attributes)
    shape = (2, 7, 2) if axis == 1 else (2, 2, 7)
    check_gradients(split, {"x": draw(shape)}, constants=constants, outputs=used, batch={"x": 0})


@st.composite
def cuts(draw: st.DrawFn, size: int) -> slice:
    """Draw a slice of an axis that takes something, its bounds counted from either end, or beyond it."""
    low = draw(st.integers(0, size - 1))
    high = draw(st.integers(low + 1, size))
    step = draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
    start, end = (low, high) if step > 0 else (high - 1, low - 1)
    start -= draw(st.sampled_from([0, size]))
    if end == size:
        end = draw(st.sampled_from([size, size + 1, 2**63 - 1]))
    elif end == -1:
        end = draw(st.sampled_from([-size - 1, -(2**63)]))
    else:
        end -= draw(st.sampled_from([0, size]))
    return slice(start, end, step)


@given(shape=SHAPES, data=st.data())
def test_slice(shape: tuple[int, ...], data: st.DataObject) -> None:
    """Any start and end, in steps forwards or backwards, along any axes, the batch too."""
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    growing = data.draw(st.none() | st.sampled_from(axes))
    taken = [data.draw(cuts(shape[axis])) for axis in axes]
    constants = {
        "starts": whole(*(cut.start for cut in taken)),
        "ends": whole(*(cut.stop for cut in taken)),
        "axes": whole(*(axis - data.draw(st.sampled_from([0, len(shape)])) for axis in axes)),
        "steps": whole(*(cut.step for cut in taken)),
    }
    cut = node("Slice", ["x", *constants])
    check_gradients(cut, {"x": draw(shape)}, constants=constants, batch={} if growing is None else {"x": growing})


def test_slice_without_axes_or_steps() -> None:
    """The first axes are meant then."""
    constants = {"starts": whole(0, 1), "ends": whole(2, -1)}
    check_gradients(node("Slice", ["x", *constants]), {"x": draw((3, 4, 2))}, constants=constants)


def test_a_slice_at_computed_places_is_refused() -> None:
    """The message names the input."""
    places = {"starts": whole(0), "ends": whole(1)}
    with pytest.raises(CompileError, match=r"its input 1 .*computed"):
        check_gradients(node("Slice", ["x", *places]), {"x": draw((3, 4)), **places})


@given(shape=SHAPES, mode=st.sampled_from(["constant", "reflect", "edge", "wrap"]), data=st.data())
def test_pad(shape: tuple[int, ...], mode: str, data: st.DataObject) -> None:
    """Every mode, as much on each side as the mode allows."""
    most = [2 if mode in ("constant", "edge") else min(2, size - (mode == "reflect")) for size in shape]
    befores, afters = ([data.draw(st.integers(0, limit)) for limit in most] for _ in range(2))
    growing = {} if befores[0] or afters[0] else {"x": 0}
    padded = node("Pad", ["x", "pads"], mode=mode)
    check_gradients(padded, {"x": draw(shape)}, constants={"pads": whole(*befores, *afters)}, batch=growing)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad_of_some_axes(mode: str) -> None:
    """The others stay as they are, the batch among them; whatever the value that is filled in."""
    constants = {"pads": whole(1, 2, 0, 1), "value": np.array(0.5), "axes": whole(-1, 1)}
    check_gradients(
        node("Pad", ["x", *constants], mode=mode), {"x": draw((2, 3, 4))}, constants=constants, batch={"x": 0}
    )


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_a_negative_pad(mode: str) -> None:
    """What was cut off gets nothing."""
    constants = {"pads": whole(0, -1, 2, -2)}
    check_gradients(node("Pad", ["x", "pads"], mode=mode), {"x": draw((2, 5))}, constants=constants)


def test_a_pad_that_copies_from_the_batch_is_refused() -> None:
    """What is copied would depend on how large the batch is."""
    with pytest.raises(CompileError, match="the size of axis 0 must not depend on the batch"):
        check_gradients(
            node("Pad", ["x", "p"], mode="edge"),
            {"x": draw((2, 3))},
            constants={"p": whole(1, 0, 0, 0)},
            batch={"x": 0},
        )


@given(shapes=arrays.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, min_side=1, max_side=3, max_dims=3))
@FEW
def test_expand(shapes: arrays.BroadcastableShapes) -> None:
    """Whatever is repeated is summed: either shape may be the longer."""
    x, wanted = shapes.input_shapes
    check_gradients(node("Expand", ["x", "s"]), {"x": draw(x)}, constants={"s": whole(*wanted)})


def test_expand_to_the_batch() -> None:
    """What every example gets a copy of, gets the sum of all."""
    nodes = [node("Shape", ["x"], ["s"], end=1), node("Concat", ["s", "rest"], ["shape"], axis=0)]
    nodes += [node("Expand", ["token", "shape"], ["tokens"]), node("Mul", ["tokens", "x"])]
    inputs = {"token": draw((1, 1, 3)), "x": draw((2, 4, 3), seed=1)}
    check_gradients(nodes, inputs, constants={"rest": whole(4, 3)}, batch={"x": 0})


@given(shape=SHAPES, fixed=st.booleans(), data=st.data())
@FEW
def test_tile(shape: tuple[int, ...], fixed: bool, data: st.DataObject) -> None:
    """Copies along any axes, as many as a constant or an input says."""
    repeats = {"r": whole(*(data.draw(st.integers(1, 3)) for _ in shape))}
    inputs = {"x": draw(shape)} | ({} if fixed else repeats)
    check_gradients(node("Tile", ["x", "r"]), inputs, constants=repeats if fixed else {}, batch={"x": 0})


@pytest.mark.parametrize("mode", ["DCR", "CRD", None])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_depth_to_space(mode: str | None, side: int) -> None:
    """Either order of the blocks; DCR by default."""
    attributes = {"mode": mode} if mode else {}
    check_gradients(
        node("DepthToSpace", ["x"], blocksize=side, **attributes),
        {"x": draw((2, 2 * side**2, 1, 2))},
        batch={"x": 0},
    )


@pytest.mark.parametrize("side", [1, 2, 3])
def test_space_to_depth(side: int) -> None:
    """The inverse of the former."""
    check_gradients(node("SpaceToDepth", ["x"], blocksize=side), {"x": draw((2, 2, side, 2 * side))}, batch={"x": 0})


@pytest.mark.parametrize("upper", [0, 1, None])
@pytest.mark.parametrize("k", [-1, 0, 2, None])
def test_trilu(upper: int | None, k: int | None) -> None:
    """Either triangle, with any diagonal."""
    constants = {} if k is None else {"k": np.array(k)}
    attributes: dict[str, Any] = {} if upper is None else {"upper": upper}
    check_gradients(
        node("Trilu", ["x", *constants], **attributes), {"x": draw((2, 3, 4))}, constants=constants, batch={"x": 0}
    )
