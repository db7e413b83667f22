"""Elementwise arithmetic."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from onnx import TensorProto

from tests.control_plane.compiler.autodiff.checking import Arrays, node
from tests.parity.rules_case import SHAPES, Case, case, coarse_numbers, maybe_growing, numbers, shapes_that_broadcast

OF_ONE: dict[str, tuple[Callable[[Any], Any], float, float]] = {  # with the bounds of what it is defined for
    "Abs": (torch.abs, -2, 2),
    "Acos": (torch.acos, -0.9, 0.9),
    "Acosh": (torch.acosh, 1.1, 9),
    "Asin": (torch.asin, -0.9, 0.9),
    "Asinh": (torch.asinh, -9, 9),
    "Atan": (torch.atan, -9, 9),
    "Atanh": (torch.atanh, -0.9, 0.9),
    "Cos": (torch.cos, -9, 9),
    "Cosh": (torch.cosh, -3, 3),
    "Erf": (torch.erf, -3, 3),
    "Exp": (torch.exp, -5, 5),
    "Identity": (torch.clone, -2, 2),
    "Log": (torch.log, 0.01, 9),
    "Neg": (torch.neg, -2, 2),
    "Reciprocal": (torch.reciprocal, 0.1, 9),
    "Sin": (torch.sin, -9, 9),
    "Sinh": (torch.sinh, -3, 3),
    "Sqrt": (torch.sqrt, 0.01, 9),
    "Tan": (torch.tan, -1.3, 1.3),
}
OF_TWO: dict[str, Callable[[Any, Any], Any]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
}
OF_MANY: dict[str, Callable[..., Any]] = {
    "Sum": lambda *xs: sum(xs),
    "Mean": lambda *xs: sum(xs) / len(xs),
    # Like the rule, amax and amin let equal ones share.
    "Max": lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amax(0),
    "Min": lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amin(0),
}
DTYPES = {TensorProto.DOUBLE: torch.float64, TensorProto.FLOAT16: torch.float16, TensorProto.FLOAT: torch.float32}


@case(*OF_ONE)
def of_one(draw: st.DrawFn, kind: str) -> Case:
    """A function of each number."""
    function, low, high = OF_ONE[kind]
    x = numbers(draw, draw(SHAPES), low, high)
    return Case(node(kind, ["x"]), {"x": x}, function, batch=maybe_growing(draw, x=x))


@case(*OF_TWO)
def of_two(draw: st.DrawFn, kind: str) -> Case:
    """A function of two numbers, of shapes that broadcast."""
    shapes = shapes_that_broadcast(draw, 2)
    inputs = {"a": numbers(draw, shapes[0]), "b": numbers(draw, shapes[1], 0.2, 2)}
    return Case(node(kind, ["a", "b"]), inputs, OF_TWO[kind], batch=maybe_growing(draw, **inputs))


@case(*OF_MANY)
def of_many(draw: st.DrawFn, kind: str) -> Case:
    """A function of one number or more, of which some are equal."""
    shapes = shapes_that_broadcast(draw, draw(st.integers(1, 3)))
    inputs: Arrays = {f"x{place}": coarse_numbers(draw, shape) for place, shape in enumerate(shapes)}
    return Case(node(kind, list(inputs)), inputs, OF_MANY[kind], batch=maybe_growing(draw, **inputs))


@case("Where")
def where(draw: st.DrawFn, kind: str) -> Case:
    """A choice, whose condition broadcasts too."""
    shapes = shapes_that_broadcast(draw, 3)
    condition, a, b = (numbers(draw, shape) for shape in shapes)
    inputs = {"c": np.asarray(condition > 0), "a": a, "b": b}
    return Case(node(kind, list(inputs)), inputs, torch.where, batch=maybe_growing(draw, **inputs))


@case("Pow")
def power(draw: st.DrawFn, kind: str) -> Case:
    """A constant exponent, of a base that may be negative if it is whole; or one that is computed."""
    exponent = draw(st.sampled_from([None, -1.5, 0.5, 1.0, 2.0, 3, 2, 0.0, -1.0]))
    if exponent is None:
        shapes = shapes_that_broadcast(draw, 2)
        inputs = {"a": numbers(draw, shapes[0], 0.2, 2), "b": numbers(draw, shapes[1])}
        return Case(node(kind, ["a", "b"]), inputs, torch.pow, batch=maybe_growing(draw, **inputs))
    x = numbers(draw, draw(SHAPES), -2 if exponent in {2, 3} else 0.2, 2)
    constants = {"b": np.array(exponent, np.int64 if isinstance(exponent, int) else np.float32)}
    batch = maybe_growing(draw, a=x)
    return Case(node(kind, ["a", "b"]), {"a": x}, lambda a: torch.pow(a, exponent), constants, batch)


@case("Cast")
def cast(draw: st.DrawFn, kind: str) -> Case:
    """To another precision; what flows back is float32 again."""
    to = draw(st.sampled_from(list(DTYPES)))
    x = numbers(draw, draw(SHAPES))
    return Case(node(kind, ["x"], to=to), {"x": x}, lambda x: x.to(DTYPES[to]), batch=maybe_growing(draw, x=x))


@case("CastLike")
def cast_like(draw: st.DrawFn, kind: str) -> Case:
    """To the precision of another tensor."""
    like = np.zeros(2, draw(st.sampled_from([np.float16, np.float32, np.float64])))
    x = numbers(draw, draw(SHAPES))
    batch = maybe_growing(draw, x=x)
    return Case(node(kind, ["x", "like"]), {"x": x}, lambda x: x.to(torch.from_numpy(like)), {"like": like}, batch)
