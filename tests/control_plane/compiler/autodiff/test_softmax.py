"""The rules of Softmax and its logarithm."""

from typing import Any

import pytest
from headwater_control.compiler.autodiff.rules import softmax  # noqa: F401  (registers)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.control_plane.compiler.autodiff.checking import check_gradients, node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@given(shape=arrays.array_shapes(min_dims=1, max_dims=4, max_side=4), data=st.data())
@settings(max_examples=20, deadline=None)
def test_over_any_axis(kind: str, shape: tuple[int, ...], data: Any) -> None:
    """The axis may count from the end, be left out, or be the batch's."""
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    batch = data.draw(st.integers(0, len(shape) - 1))
    attributes = {} if axis is None else {"axis": axis}
    check_gradients(node(kind, ["x"], **attributes), {"x": draw(shape)}, batch={"x": batch})


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_of_large_numbers(kind: str) -> None:
    """Nothing overflows."""
    check_gradients(node(kind, ["x"]), {"x": draw((3, 4), 999, 1001)}, batch={"x": 0}, relative=1e-4)
