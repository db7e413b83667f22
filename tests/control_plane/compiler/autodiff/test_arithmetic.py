"""The rules of elementwise arithmetic, over shapes that broadcast."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.control_plane.compiler.autodiff.checking import check_gradients, node

Array = npt.NDArray[np.float64]
UNARY = {
    "Abs": (-2, 2), "Cos": (-3, 3), "Exp": (-2, 2), "Identity": (-2, 2), "Log": (0.2, 3),
    "Neg": (-2, 2), "Reciprocal": (0.3, 2), "Sin": (-3, 3), "Sqrt": (0.2, 3),
    "Acos": (-0.8, 0.8), "Acosh": (1.3, 3), "Asin": (-0.8, 0.8), "Asinh": (-2, 2), "Atan": (-2, 2),
    "Atanh": (-0.8, 0.8), "Cosh": (-2, 2), "Sinh": (-2, 2), "Tan": (-1, 1),
}  # fmt: skip


def away_from(values: Array, kinks: tuple[float, ...]) -> Array:
    """Move what lies near a kink, where central differences see both sides, away from it."""
    for kink in kinks:
        values = np.where(np.abs(values - kink) < 1e-3, kink + 0.01, values)
    return values


def draw(shape: tuple[int, ...], low: float = -2, high: float = 2, seed: int = 0) -> Array:
    """Draw float64 between two bounds."""
    return np.random.default_rng(seed).uniform(low, high, shape)


@pytest.mark.parametrize("kind", sorted(UNARY))
def test_of_one_number(kind: str) -> None:
    """Each function's slope, for a batch of any size."""
    x = away_from(draw((3, 4), *UNARY[kind]), (0.0,))
    check_gradients(node(kind, ["x"]), {"x": x}, batch={"x": 0})


def test_erf() -> None:
    """The same of the error function, which the runtime computes in float32 whatever it is given."""
    check_gradients(node("Erf", ["x"]), {"x": draw((3, 4))}, batch={"x": 0}, step=1e-2, relative=1e-3, absolute=1e-4)


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "Min", "Max", "Sum"])
@given(
    shapes=arrays.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, min_side=1, max_side=3, max_dims=3),
    seed=st.integers(0, 9),
)
def test_of_two_numbers(kind: str, shapes: arrays.BroadcastableShapes, seed: int) -> None:
    """What broadcasting repeats is summed back, whatever the shapes."""
    a, b = draw(shapes.input_shapes[0], 0.5, 2, seed), draw(shapes.input_shapes[1], -2, -0.5, seed + 1)
    check_gradients(node(kind, ["a", "b"]), {"a": a, "b": b})


@pytest.mark.parametrize("shape", [(2, 3), (3,), (2, 1)])
def test_mean(shape: tuple[int, ...]) -> None:
    """Each input gets its share (onnx's reference wants the largest first)."""
    check_gradients(node("Mean", ["a", "b"]), {"a": draw((2, 3)), "b": draw(shape, seed=1)})


@given(shapes=arrays.mutually_broadcastable_shapes(num_shapes=3, min_dims=1, min_side=1, max_side=3, max_dims=3))
def test_where(shapes: arrays.BroadcastableShapes) -> None:
    """Only the side that was taken gets a gradient."""
    condition, a, b = (draw(shape, seed=seed) for seed, shape in enumerate(shapes.input_shapes))
    check_gradients(node("Where", ["c", "a", "b"]), {"c": condition > 0, "a": a, "b": b})


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0, -1.5])
def test_a_constant_power(exponent: float) -> None:
    """The forms that need no Pow give the same."""
    check_gradients(node("Pow", ["x", "e"]), {"x": draw((2, 3), 0.2, 2)}, constants={"e": np.array(exponent)})


def test_a_power_that_is_computed() -> None:
    """Both the base and the exponent get theirs."""
    check_gradients(node("Pow", ["x", "e"]), {"x": draw((2, 3), 0.2, 2), "e": draw((3,), seed=1)})


def test_what_is_used_twice_adds_up() -> None:
    """y = x·x + x has the slope 2x + 1."""
    nodes = [node("Mul", ["x", "x"], ["square"]), node("Add", ["square", "x"])]
    check_gradients(nodes, {"x": draw((2, 3))}, batch={"x": 0})


def test_a_cast_gives_its_dtype_back() -> None:
    """What flows back into a float32 tensor is float32."""
    nodes = [node("Cast", ["x"], ["low"], to=1), node("Cast", ["low"], ["y"], to=11)]
    check_gradients(nodes, {"x": np.arange(6, dtype=np.float64).reshape(2, 3)}, step=0.5)
