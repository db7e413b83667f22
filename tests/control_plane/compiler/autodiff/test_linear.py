"""The rules of matrix products."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control_plane.compiler.autodiff.checking import check_gradients, node
from tests.control_plane.compiler.autodiff.test_arithmetic import draw

SIDES = st.integers(1, 3)


@pytest.mark.parametrize("turned_a", [0, 1])
@pytest.mark.parametrize("turned_b", [0, 1])
@pytest.mark.parametrize("bias", [(3, 4), (4,), (3, 1), (1,), None])
def test_gemm(turned_a: int, turned_b: int, bias: tuple[int, ...] | None) -> None:
    """Either side transposed, with any bias that broadcasts or none, scaled."""
    a, b = draw((2, 3) if turned_a else (3, 2)), draw((4, 2) if turned_b else (2, 4), seed=1)
    inputs = {"a": a, "b": b} | ({"c": draw(bias, seed=2)} if bias else {})
    gemm = node("Gemm", list(inputs), alpha=0.5, beta=2.0, transA=turned_a, transB=turned_b)
    check_gradients(gemm, inputs, batch={"a": 0} if not turned_a and bias != (3, 4) and bias != (3, 1) else {})


@given(n=SIDES, k=SIDES, m=SIDES, left=st.lists(SIDES, max_size=2), ones=st.tuples(st.booleans(), st.booleans()))
def test_matmul_over_batches(n: int, k: int, m: int, left: list[int], ones: tuple[bool, bool]) -> None:
    """Leading axes broadcast, on either side."""
    lead_a = [1 if ones[0] else size for size in left]
    lead_b = [1 if ones[1] else size for size in left[-1:]]
    check_gradients(node("MatMul", ["a", "b"]), {"a": draw((*lead_a, n, k)), "b": draw((*lead_b, k, m), seed=1)})


@pytest.mark.parametrize(
    ("a", "b"), [((3,), (3,)), ((3,), (3, 2)), ((3,), (4, 3, 2)), ((2, 3), (3,)), ((5, 2, 3), (3,))]
)
def test_matmul_with_a_vector(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """A vector is a row or a column, whose axis is not in the result."""
    check_gradients(node("MatMul", ["a", "b"]), {"a": draw(a), "b": draw(b, seed=1)})


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3), (2, 5, 4, 3)])
def test_one_matrix_for_a_batch_of_any_size(shape: tuple[int, ...]) -> None:
    """Its gradient is summed over all examples."""
    check_gradients(node("MatMul", ["a", "b"]), {"a": draw(shape), "b": draw((3, 2), seed=1)}, batch={"a": 0})


def test_attention_scores() -> None:
    """Both sides grow with the batch."""
    q, k = draw((2, 4, 3, 5)), draw((2, 4, 5, 3), seed=1)
    check_gradients(node("MatMul", ["q", "k"]), {"q": q, "k": k}, batch={"q": 0, "k": 0})
