"""The rule of Einsum."""

import pytest
from headwater_control.compiler.autodiff.rules import einsum  # noqa: F401  (registers)
from headwater_control.compiler.errors import CompileError
from hypothesis import given
from hypothesis import strategies as st

from tests.control_plane.compiler.autodiff.checking import check_gradients, node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw


@given(
    terms=st.lists(st.lists(st.sampled_from("abcd"), unique=True, max_size=3), min_size=1, max_size=3),
    sizes=st.fixed_dictionaries({label: st.integers(1, 3) for label in "abcd"}),
    data=st.data(),
)
def test_einsum(terms: list[list[str]], sizes: dict[str, int], data: st.DataObject) -> None:
    """Any sum of products, with sizes of 1 that broadcast."""
    labels = sorted(set().union(*terms))
    result = data.draw(st.permutations(labels))[: data.draw(st.integers(0, len(labels)))]
    if len(terms) == 1 and len(result) < len(labels):
        result.sort(key=terms[0].index)  # onnxruntime 1.19 fails where it is to sum and to transpose a single operand
    inputs = {}
    for place, term in enumerate(terms):
        shape = tuple(1 if data.draw(st.integers(0, 5)) == 0 else sizes[label] for label in term)
        inputs[f"x{place}"] = draw(shape, seed=place)
    equation = " , ".join("".join(term) for term in terms) + " -> " + "".join(result)
    check_gradients(node("Einsum", list(inputs), equation=equation), inputs)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ba", [(2, 3)]),
        ("...ij,...jk", [(2, 3, 4), (2, 4, 2)]),
        ("...ij,...jk->...ki", [(1, 3, 4), (2, 4, 2)]),
        ("...i,ij->...j", [(2, 3, 4), (4, 2)]),
        ("i...->...i", [(2, 3, 4)]),
        ("...,...->...", [(2, 3), (2, 3)]),
    ],
)
def test_what_is_not_spelt_out(equation: str, shapes: list[tuple[int, ...]]) -> None:
    """Without an arrow the labels that stand once remain; an ellipsis stands for any axes."""
    inputs = {f"x{place}": draw(shape, seed=place) for place, shape in enumerate(shapes)}
    check_gradients(node("Einsum", list(inputs), equation=equation), inputs)


@pytest.mark.parametrize(
    ("equation", "a", "b", "batch"),
    [
        ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 2, 4), {"a": 0, "b": 0}),
        ("btd,dk->btk", (2, 3, 4), (4, 2), {"a": 0}),
        ("bi,bj->ij", (2, 3), (2, 4), {"a": 0, "b": 0}),
        ("bi,j->j", (2, 3), (4,), {"a": 0}),
        ("...d,kd->...k", (2, 3, 4), (2, 4), {"a": 0}),
        ("bd,b->bd", (2, 3), (1,), {"a": 0}),
    ],
)
def test_a_batch_of_any_size(equation: str, a: tuple[int, ...], b: tuple[int, ...], batch: dict[str, int]) -> None:
    """Attention, a linear layer, sums over the batch, and over what only one operand has."""
    check_gradients(node("Einsum", ["a", "b"], equation=equation), {"a": draw(a), "b": draw(b, seed=1)}, batch=batch)


def test_a_diagonal_is_refused() -> None:
    """The message says what to do."""
    with pytest.raises(CompileError, match="repeated within an operand"):
        check_gradients(node("Einsum", ["x"], equation="ii->i"), {"x": draw((3, 3))})
