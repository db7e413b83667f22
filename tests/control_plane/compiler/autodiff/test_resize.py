"""The rule of Resize, in float32, since the runtime resizes nothing else; large steps do no harm: it is linear."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from headwater_control.compiler.autodiff.rules import resize  # noqa: F401  (registers)
from headwater_control.compiler.errors import CompileError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.control_plane.compiler.autodiff.checking import check_gradients, node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw

MAPPINGS = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
MODES = st.sampled_from(["linear", *ROUNDINGS])
SIDES = st.integers(1, 5)
SCALES = st.sampled_from([1 / 3, 0.5, 0.7, 1.0, 1.5, 2.0, 2.7, 3.0])


def check(
    shape: tuple[int, ...],
    *,
    sizes: tuple[int, ...] = (),
    scales: tuple[float, ...] = (),
    region: tuple[float, ...] = (),
    batch: int | None = None,
    **attributes: Any,
) -> None:
    """Hold the rule against central differences."""
    constants: dict[str, npt.NDArray[Any]] = {"region": np.array(region, np.float32)} if region else {}
    constants |= {"scales": np.array(scales, np.float32)} if scales else {"sizes": np.array(sizes, np.int64)}
    inputs = ["low", "region" if region else "", *(["scales"] if scales else ["", "sizes"])]
    nodes = [
        node("Cast", ["x"], ["low"], to=onnx.TensorProto.FLOAT),
        node("Resize", inputs, ["resized"], **attributes),
        node("Cast", ["resized"], to=onnx.TensorProto.DOUBLE),
    ]
    growing = {} if batch is None else {"x": batch}
    check_gradients(
        nodes, {"x": draw(shape)}, constants=constants, batch=growing, step=1.0, relative=1e-4, absolute=1e-5
    )


def in_mode(mode: str, mapping: str) -> dict[str, Any]:
    """Give the attributes of a mode, or of the nearest pixel by a way of rounding."""
    attributes = {"mode": "linear"} if mode == "linear" else {"mode": "nearest", "nearest_mode": mode}
    return {**attributes, "coordinate_transformation_mode": mapping}


@given(before=st.tuples(SIDES, SIDES), after=st.tuples(SIDES, SIDES), mode=MODES, mapping=st.sampled_from(MAPPINGS))
@settings(max_examples=80)
def test_to_a_size(before: tuple[int, int], after: tuple[int, int], mode: str, mapping: str) -> None:
    """Up and down, in every mode that maps and rounds, for a batch of any size."""
    assume(mapping != "align_corners" or 1 not in after)  # 0/0: onnxruntime 1.19 reads beyond the input
    check((2, 1, *before), sizes=after, axes=[2, 3], batch=0, **in_mode(mode, mapping))


@given(before=st.tuples(SIDES, SIDES), scales=st.tuples(SCALES, SCALES), mode=MODES, mapping=st.sampled_from(MAPPINGS))
@settings(max_examples=80)
def test_by_a_scale(before: tuple[int, int], scales: tuple[float, float], mode: str, mapping: str) -> None:
    """The same by factors, which need not give whole sizes."""
    sizes = [int(np.float32(size) * np.float32(scale)) for size, scale in zip(before, scales, strict=True)]
    assume(0 not in sizes)
    assume(mapping != "align_corners" or 1 not in sizes)
    kept = [scale for scale, *size in zip(scales, before, sizes, strict=True) if size[0] == size[1] > 1]
    assume(all(scale == 1 for scale in kept))  # others are refused
    check((2, 1, *before), scales=(1, 1, *scales), batch=0, **in_mode(mode, mapping))


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("mode", ROUNDINGS)
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_whole_factors(mapping: str, mode: str, factor: int) -> None:
    """Not every way to round repeats each pixel alike."""
    check((2, 1, 2, 3), scales=(1, 1, factor, 1), batch=0, **in_mode(mode, mapping))


@pytest.mark.parametrize(
    ("shape", "scales", "mode"),
    [
        ((3,), (2,), "nearest"),
        ((3,), (2.5,), "nearest"),
        ((2, 3), (2, 1.5), "linear"),
        ((2, 1, 3), (1, 1, 3), "nearest"),
        ((2, 2, 3), (1, 1.5, 2), "linear"),
        ((1, 2, 3, 2), (1, 2, 1.5, 1), "linear"),
        ((1, 1, 2, 3, 2), (1, 1, 2, 1.5, 2), "linear"),
        ((1, 1, 2, 3, 2), (1, 1, 2, 3, 2), "nearest"),
        ((1, 1, 2, 3, 2), (1, 1, 2.5, 3, 2), "nearest"),
    ],
)
def test_any_rank(shape: tuple[int, ...], scales: tuple[float, ...], mode: str) -> None:
    """Sequences, images with their channels first or last, and volumes."""
    check(shape, scales=scales, mode=mode)


@pytest.mark.parametrize("outside", [0, 1])
@pytest.mark.parametrize("scale", [0.5, 1.5, 2])
def test_cubic(scale: float, outside: int) -> None:
    """Four neighbours on each axis, of which some may lie outside."""
    check((2, 1, 4, 5), scales=(1, 1, scale, 2), batch=0, mode="cubic", exclude_outside=outside, cubic_coeff_a=-0.5)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_without_aliases(mode: str) -> None:
    """A filter that is wider the smaller the result."""
    check((2, 1, 5, 6), scales=(1, 1, 0.4, 0.5), batch=0, mode=mode, antialias=1)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_region(mode: str) -> None:
    """What lies outside of the input has a value of its own, and no gradient."""
    check(
        (2, 1, 4, 5),
        scales=(1, 1, 1.5, 1),
        region=(0, 0, 0.2, -0.3, 1, 1, 0.9, 1.1),
        batch=0,
        mode=mode,
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=3.0,
    )


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"sizes": (4, 4), "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}, "aspect ratio"),
        ({"scales": (2, 1, 1, 1), "batch": 0}, "axis 0, which grows"),
        ({"scales": (1, 1, 2, 1.1)}, "axis 3 keeps its size"),
    ],
)
def test_what_is_refused(attributes: dict[str, Any], why: str) -> None:
    """The message says why."""
    with pytest.raises(CompileError, match=why):
        check((2, 1, 2, 3), **attributes)
