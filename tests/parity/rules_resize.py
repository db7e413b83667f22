"""Resize, in the ways that PyTorch interpolates."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from torch.nn import functional

from tests.control_plane.compiler.autodiff.checking import Arrays, node
from tests.parity.rules_case import Case, case, maybe_growing, numbers


@dataclass(frozen=True)
class Way:
    """How to interpolate: ONNX's attributes, and PyTorch's arguments."""

    ranks: tuple[int, ...]  # of the space that PyTorch can do it in
    attributes: dict[str, Any]
    arguments: dict[str, Any] = field(default_factory=dict)


LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
SCALES = (0.5, 1.0, 1.5, 2.0, 3.0)
AVERAGING = {"antialias": 1, "exclude_outside": 1}
WAYS = [
    Way((1, 2, 3), {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    Way(
        (1, 2, 3),
        {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"},
        {"mode": "nearest-exact"},
    ),
    Way((1, 2, 3), {"mode": "linear"}),
    Way((1, 2, 3), {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, {"align_corners": True}),
    Way((2,), {"mode": "cubic"}, {"mode": "bicubic"}),
    Way(
        (2,),
        {"mode": "cubic", "coordinate_transformation_mode": "align_corners"},
        {"mode": "bicubic", "align_corners": True},
    ),
    Way((2,), {"mode": "linear", **AVERAGING}, {"antialias": True}),
    Way((2,), {"mode": "cubic", "cubic_coeff_a": -0.5, **AVERAGING}, {"mode": "bicubic", "antialias": True}),
]


@case("Resize")
def resize(draw: st.DrawFn, kind: str) -> Case:
    """Up and down, to sizes or by factors."""
    way = draw(st.sampled_from(WAYS))
    rank = draw(st.sampled_from(way.ranks))
    before = [draw(st.integers(1, 6)) for _ in range(rank)]
    # To a single place, aligned corners are 0/0 for onnxruntime; and PyTorch 2.13 averages wrongly to a single column.
    smallest = 2 if way.arguments.keys() & {"align_corners", "antialias"} else 1
    arguments: dict[str, Any] = {"mode": LINEAR[rank] if way.attributes["mode"] == "linear" else "nearest"}
    arguments |= way.arguments
    if draw(st.booleans()):
        factors = [[scale for scale in SCALES if int(size * scale) >= smallest] for size in before]
        scales = [draw(st.sampled_from(every)) for every in factors]
        constants: Arrays = {"s": np.array(scales, np.float32)}
        arguments["scale_factor"] = tuple(scales)
    else:
        after = [draw(st.integers(smallest, 9)) for _ in before]
        constants = {"s": np.array(after, np.int64)}
        arguments["size"] = tuple(after)
    x = numbers(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *before))
    names = ["x", "", "s"] if "scale_factor" in arguments else ["x", "", "", "s"]
    resized = node(kind, names, axes=list(range(2, rank + 2)), **way.attributes)
    batch = maybe_growing(draw, x=x)
    return Case(resized, {"x": x}, lambda x: functional.interpolate(x, **arguments), constants, batch)
