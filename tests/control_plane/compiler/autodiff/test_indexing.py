"""The rules of operators that read, or write, where indices say."""

from math import prod

import numpy as np
import numpy.typing as npt
import pytest
from headwater_control.compiler.autodiff.rules import indexing, movement  # noqa: F401  (registers)
from headwater_control.compiler.errors import CompileError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.control_plane.compiler.autodiff.checking import check_gradients, node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw

Indices = npt.NDArray[np.int64]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)
SEEDS = st.integers(0, 99)
FEW = settings(max_examples=50)


def within(size: int, shape: tuple[int, ...], seed: int = 0) -> Indices:
    """Draw indices of an axis, from either end; some will repeat."""
    return np.random.default_rng(seed).integers(-size, size, shape)


def unlike(size: int, count: int, seed: int = 0) -> Indices:
    """Draw indices of an axis, from either end, that all mean different places."""
    random = np.random.default_rng(seed)
    return random.permutation(size)[:count] - size * random.integers(0, 2, count)


@given(shape=SHAPES, of_indices=arrays.array_shapes(min_dims=0, max_dims=2, max_side=4), seed=SEEDS, data=st.data())
@FEW
def test_gather(shape: tuple[int, ...], of_indices: tuple[int, ...], seed: int, data: st.DataObject) -> None:
    """Along any axis, by indices of any shape, constant or computed; what is read twice gets both."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    growing = data.draw(st.none() | st.integers(0, len(shape) - 1))
    indices = {"i": within(shape[axis], of_indices, seed)}
    constant = data.draw(st.booleans())
    check_gradients(
        node("Gather", ["x", "i"], axis=axis),
        {"x": draw(shape)} | ({} if constant else indices),
        constants=indices if constant else {},
        batch={} if growing is None else {"x": growing},
    )


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_an_embedding(dtype: npt.DTypeLike) -> None:
    """A table [V, D] read by a batch of sentences."""
    tokens = within(5, (2, 3)).astype(dtype)
    check_gradients(node("Gather", ["table", "i"]), {"table": draw((5, 4)), "i": tokens}, batch={"i": 0})


def test_gather_where_data_and_indices_grow() -> None:
    """Both with the batch, along different axes."""
    inputs = {"x": draw((2, 5, 3)), "i": within(5, (2, 2))}
    check_gradients(node("Gather", ["x", "i"], axis=1), inputs, batch={"x": 0, "i": 0})


@given(shape=SHAPES, seed=SEEDS, data=st.data())
@FEW
def test_gather_elements(shape: tuple[int, ...], seed: int, data: st.DataObject) -> None:
    """One index for each number that is read, of fewer rows than there are, or more along the axis."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sides = [data.draw(st.integers(1, size)) for size in shape]
    sides[axis] = data.draw(st.integers(1, 5))
    inputs = {"x": draw(shape), "i": within(shape[axis], tuple(sides), seed)}
    growing = data.draw(st.integers(0, len(shape) - 1))
    check_gradients(node("GatherElements", ["x", "i"], axis=axis), inputs, batch={"x": growing, "i": growing})


@given(
    batches=st.lists(st.integers(1, 3), max_size=2),
    indexed=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    row=st.lists(st.integers(1, 3), max_size=2),
    between=st.lists(st.integers(1, 3), max_size=2),
    seed=SEEDS,
    growing=st.booleans(),
)
@FEW
def test_gather_nd(
    batches: list[int], indexed: list[int], row: list[int], between: list[int], seed: int, growing: bool
) -> None:
    """Tuples that index some axes, behind axes that go in step, before axes that are read whole."""
    parts = [within(size, (*batches, *between), seed + place) for place, size in enumerate(indexed)]
    inputs = {"x": draw((*batches, *indexed, *row)), "i": np.stack(parts, -1)}
    step = {"x": 0, "i": 0} if batches else {"x": 0}
    check_gradients(node("GatherND", ["x", "i"], batch_dims=len(batches)), inputs, batch=step if growing else {})


def test_gather_nd_of_one_for_each_example() -> None:
    """Where both grow with the batch, though none goes in step: x[range(N), i], as PyTorch exports it."""
    inputs = {"x": draw((3, 4, 2)), "i": np.stack([np.arange(3), within(4, (3,))], -1)}
    check_gradients(node("GatherND", ["x", "i"]), inputs, batch={"x": 0, "i": 0})


def test_gather_nd_of_rows_that_grow() -> None:
    """The batch may be the last axis; but not the last and the indices' too."""
    gather = node("GatherND", ["x", "i"])
    inputs = {"x": draw((4, 3)), "i": within(4, (2, 1))}
    check_gradients(gather, inputs, batch={"x": 1})
    with pytest.raises(CompileError, match="one batch axis"):
        check_gradients(gather, inputs, batch={"x": 1, "i": 0})


@given(shape=SHAPES, reduction=st.sampled_from(["none", "add", None]), seed=SEEDS, data=st.data())
@FEW
def test_scatter_elements(shape: tuple[int, ...], reduction: str | None, seed: int, data: st.DataObject) -> None:
    """What is overwritten gets nothing; what is added to, or written, gets all."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sides = [data.draw(st.integers(1, size)) for size in shape]
    if reduction == "add":
        indices = within(shape[axis], tuple(sides), seed)
    else:
        along = [1] * len(shape)
        along[axis] = sides[axis]
        indices = np.broadcast_to(unlike(shape[axis], sides[axis], seed).reshape(along), sides).copy()
    inputs = {"x": draw(shape), "i": indices, "u": draw(indices.shape, seed=1)}
    attributes = {"reduction": reduction} if reduction else {}
    growing = data.draw(st.integers(0, len(shape) - 1))
    check_gradients(
        node("ScatterElements", ["x", "i", "u"], axis=axis, **attributes), inputs, batch=dict.fromkeys(inputs, growing)
    )


@given(
    shape=SHAPES, reduction=st.sampled_from(["none", "add", None]), between=st.lists(st.integers(1, 2), max_size=2),
    seed=SEEDS, data=st.data(),
)  # fmt: skip
@FEW
def test_scatter_nd(
    shape: tuple[int, ...], reduction: str | None, between: list[int], seed: int, data: st.DataObject
) -> None:
    """The same by tuples."""
    depth = data.draw(st.integers(1, len(shape)))
    tuples = prod(between)
    places = prod(shape[:depth])
    if reduction != "add" and tuples > places:
        between, tuples = [1], 1
    flat = within(places, (tuples,), seed) if reduction == "add" else unlike(places, tuples, seed)
    indices = np.stack(np.unravel_index(flat % places, shape[:depth]), -1).reshape(*between, depth)
    inputs = {"x": draw(shape), "i": indices, "u": draw((*between, *shape[depth:]), seed=1)}
    attributes = {"reduction": reduction} if reduction else {}
    check_gradients(node("ScatterND", ["x", "i", "u"], **attributes), inputs)


def test_scatter_nd_into_a_batch() -> None:
    """One row for each example, of a batch of any size."""
    inputs = {"x": draw((3, 4, 2)), "i": np.stack([np.arange(3), within(4, (3,))], -1), "u": draw((3, 2), seed=1)}
    check_gradients(node("ScatterND", ["x", "i", "u"]), inputs, batch={"x": 0, "i": 0, "u": 0})


@pytest.mark.parametrize("kind", ["ScatterND", "ScatterElements"])
def test_other_reductions_are_refused(kind: str) -> None:
    """The message says which there are."""
    inputs = {"x": draw((3, 1)), "i": np.array([[0]]), "u": draw((1, 1))}
    with pytest.raises(CompileError, match=r"'none' and 'add'.*'mul'"):
        check_gradients(node(kind, ["x", "i", "u"], reduction="mul"), inputs)


@given(shape=SHAPES, largest=st.sampled_from([0, 1]), sort=st.sampled_from([0, 1]), seed=SEEDS, data=st.data())
@FEW
def test_top_k(shape: tuple[int, ...], largest: int, sort: int, seed: int, data: st.DataObject) -> None:
    """The k greatest, or least, get what flows back; k may be computed."""
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count = {"k": np.array([data.draw(st.integers(1, shape[axis]))])}
    constant = data.draw(st.booleans())
    x = np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape) / 10
    top = node("TopK", ["x", "k"], ["y", "i"], axis=axis, largest=largest, sorted=sort)
    check_gradients(top, {"x": x} | ({} if constant else count), constants=count if constant else {}, batch={"x": 0})
