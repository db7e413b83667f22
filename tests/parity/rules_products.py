"""Matrix products."""

from typing import Any

import torch
from hypothesis import strategies as st

from tests.control_plane.compiler.autodiff.checking import Arrays, node
from tests.parity.rules_case import SHAPES, Case, case, maybe_growing, numbers, shapes_that_broadcast

SIDES = st.integers(1, 4)


@case("Gemm")
def gemm(draw: st.DrawFn, kind: str) -> Case:
    """Either side transposed, with a bias of any shape that broadcasts or none, scaled."""
    n, k, m = draw(SIDES), draw(SIDES), draw(SIDES)
    turned_a, turned_b = draw(st.booleans()), draw(st.booleans())
    bias = draw(st.sampled_from([None, (), (1,), (m,), (1, m), (n, 1), (n, m)]))
    alpha, beta = draw(st.sampled_from([1.0, 0.5])), draw(st.sampled_from([1.0, 2.0, 0.0]))
    inputs: dict[str, Any] = {
        "a": numbers(draw, (k, n) if turned_a else (n, k)),
        "b": numbers(draw, (m, k) if turned_b else (k, m)),
    }
    if bias is not None:
        inputs["c"] = numbers(draw, bias)

    def function(a: Any, b: Any, c: Any = None) -> Any:
        a, b = a.T if turned_a else a, b.T if turned_b else b
        return alpha * (a @ b) if c is None else torch.addmm(c, a, b, beta=beta, alpha=alpha)

    grows = not turned_a and (bias is None or len(bias) < 2 or bias[0] != n) and draw(st.booleans())
    product = node(kind, list(inputs), alpha=alpha, beta=beta, transA=int(turned_a), transB=int(turned_b))
    return Case(product, inputs, function, batch={"a": 0} if grows else {})


@case("MatMul of batches")
def matmul_of_batches(draw: st.DrawFn, kind: str) -> Case:
    """Leading axes broadcast, on either side."""
    n, k, m = draw(SIDES), draw(SIDES), draw(SIDES)
    lead = shapes_that_broadcast(draw, 2)
    a, b = numbers(draw, (*lead[0], n, k)), numbers(draw, (*lead[1], k, m))
    grows = lead[0] and lead[0][:1] == lead[1][:1] and a.ndim == b.ndim and draw(st.booleans())
    return Case(node("MatMul", ["a", "b"]), {"a": a, "b": b}, torch.matmul, batch={"a": 0, "b": 0} if grows else {})


@case("MatMul by one matrix")
def matmul_by_one_matrix(draw: st.DrawFn, kind: str) -> Case:
    """The layer that every example goes through."""
    shape = draw(SHAPES)
    a, b = numbers(draw, (*shape, 3)), numbers(draw, (3, draw(SIDES)))
    return Case(node("MatMul", ["a", "b"]), {"a": a, "b": b}, torch.matmul, batch=maybe_growing(draw, a=a))


@case("MatMul with a vector")
def matmul_with_a_vector(draw: st.DrawFn, kind: str) -> Case:
    """A row on the left, a column on the right, or both."""
    k, lead = draw(SIDES), draw(st.lists(SIDES, max_size=2))
    form = draw(st.sampled_from(["left", "right", "both"]))
    a = numbers(draw, (*lead, draw(SIDES), k) if form == "right" else (k,))
    b = numbers(draw, (*lead, k, draw(SIDES)) if form == "left" else (k,))
    growing = {"a": 0} if form == "right" else {"b": 0} if form == "left" and lead else {}
    batch = growing if draw(st.booleans()) else {}
    return Case(node("MatMul", ["a", "b"]), {"a": a, "b": b}, torch.matmul, batch=batch)


@case("Einsum")
def einsum(draw: st.DrawFn, kind: str) -> Case:
    """Any sum of products, with sizes of 1 that broadcast, and with an ellipsis for what all have in common."""
    sizes = {label: draw(SIDES) for label in "abcd"}
    terms = draw(st.lists(st.lists(st.sampled_from("abcd"), unique=True, max_size=3), min_size=1, max_size=3))
    labels = sorted(set().union(*terms))
    result = draw(st.permutations(labels))[: draw(st.integers(0, len(labels)))]
    common = draw(st.lists(SIDES, min_size=1, max_size=2)) if draw(st.booleans()) else []
    inputs: Arrays = {
        f"x{place}": numbers(draw, [*common, *(draw(st.sampled_from([sizes[label]] * 4 + [1])) for label in term)])
        for place, term in enumerate(terms)
    }
    dots = "..." if common else ""
    equation = ",".join(dots + "".join(term) for term in terms)
    if draw(st.integers(0, 3)):  # else what stands once remains
        equation += "->" + dots + "".join(result)
    batch = dict.fromkeys(inputs if common else (), 0) if draw(st.booleans()) else {}
    summed = node(kind, list(inputs), equation=equation)
    return Case(summed, inputs, lambda *xs: torch.einsum(equation, *xs), batch=batch)
