"""The rules of reductions, over any axes, and of the running sum."""

from typing import Any

import numpy as np
import pytest
from headwater_control.compiler.autodiff.rules import reductions  # noqa: F401  (registers)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.control_plane.compiler.autodiff.checking import Array, check_gradients, node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw

KINDS = {
    "ReduceL1": (-2, 2), "ReduceL2": (-2, 2), "ReduceLogSum": (0.5, 2), "ReduceLogSumExp": (-2, 2),
    "ReduceMax": (-2, 2), "ReduceMean": (-2, 2), "ReduceMin": (-2, 2), "ReduceProd": (-2, 2), "ReduceSum": (-2, 2),
    "ReduceSumSquare": (-2, 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(shape=arrays.array_shapes(min_dims=1, max_dims=4, max_side=3), keepdims=st.sampled_from([0, 1]), data=st.data())
@settings(max_examples=20, deadline=None)
def test_over_some_axes(kind: str, shape: tuple[int, ...], keepdims: int, data: Any) -> None:
    """The axes are in any order and count from either end; one of them may be the batch's."""
    rank = len(shape)
    chosen = data.draw(st.lists(st.integers(0, rank - 1), min_size=1, unique=True))
    axes = [axis - rank if data.draw(st.booleans()) else axis for axis in chosen]
    batch = data.draw(st.none() | st.integers(0, rank - 1))
    check_gradients(
        node(kind, ["x", "axes"], keepdims=keepdims),
        {"x": draw(shape, *KINDS[kind])},
        constants={"axes": np.array(axes)},
        batch={} if batch is None else {"x": batch},
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [["axes"], []])
def test_over_all_axes(kind: str, keepdims: int, axes: list[str]) -> None:
    """No axes are all axes, whether they are left out or empty, for a batch of any size."""
    constants = {"axes": np.zeros(0, np.int64)} if axes else {}
    x = draw((2, 3), *KINDS[kind])
    check_gradients(node(kind, ["x", *axes], keepdims=keepdims), {"x": x}, constants=constants, batch={"x": 0})


@pytest.mark.parametrize("kind", ["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"])
def test_over_no_axes(kind: str) -> None:
    """No axes are none where the node says so (for the others onnxruntime 1.19 does not know it)."""
    constants = {"axes": np.zeros(0, np.int64)}
    reduction = node(kind, ["x", "axes"], noop_with_empty_axes=1)
    check_gradients(reduction, {"x": draw((2, 3))}, constants=constants, batch={"x": 0})


@pytest.mark.parametrize("zeros", [1, 2, 3])
def test_a_product_with_zeros(zeros: int) -> None:
    """A single zero gets the product of the others; with two, nothing flows."""
    x = draw((2, 3), 0.5, 2)
    x[0, :zeros] = 0
    check_gradients(node("ReduceProd", ["x", "axes"]), {"x": x}, constants={"axes": np.array([1])}, batch={"x": 0})


def test_equal_extremes_share() -> None:
    """Together they get what one alone would (here, a central difference of both sides of a kink agrees)."""
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 1.0]])
    check_gradients(node("ReduceMax", ["x", "axes"]), {"x": x}, constants={"axes": np.array([1])}, batch={"x": 0})


def test_the_norm_of_nothing() -> None:
    """Where all are 0 the norms have the slope 0, as central differences do."""
    x = np.array([[0.0, 0.0], [1.0, 2.0]])
    for kind in ("ReduceL1", "ReduceL2"):
        check_gradients(node(kind, ["x", "axes"]), {"x": x}, constants={"axes": np.array([1])}, batch={"x": 0})


def test_large_numbers() -> None:
    """Nothing overflows."""
    check_gradients(node("ReduceLogSumExp", ["x"]), {"x": draw((2, 3), 999, 1001)}, batch={"x": 0}, relative=1e-4)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [np.array(0), np.array(1), np.array([-1])])
def test_cumulated_sum(exclusive: int, reverse: int, axis: Array) -> None:
    """From either end, with or without oneself, the batch's axis included."""
    nodes = node("CumSum", ["x", "axis"], exclusive=exclusive, reverse=reverse)
    check_gradients(nodes, {"x": draw((2, 3, 4))}, constants={"axis": axis}, batch={"x": 0})
