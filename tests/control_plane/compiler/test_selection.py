"""Which parameters train."""

import onnx
import pytest
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.selection import select

from tests.control_plane.compiler.graphs import N, info, model, weights

NAMES = {"w1", "b1", "scale", "shift", "w2", "b2", "w3"}


def graph() -> onnx.GraphProto:
    """Make three layers: a Gemm, a norm, a MatMul with an Add behind it, and a MatMul with a transposed weight."""
    nodes = [
        N("Gemm", ["x", "w1", "b1"], ["a"]),
        N("LayerNormalization", ["a", "scale", "shift"], ["n"]),
        N("MatMul", ["n", "w2"], ["m"]),
        N("Add", ["m", "b2"], ["h"]),
        N("Transpose", ["w3"], ["t"], perm=[1, 0]),
        N("MatMul", ["h", "t"], ["y"]),
    ]
    tensors = {"w1": weights(8, 5), "b1": weights(5), "scale": weights(5), "shift": weights(5)}
    tensors |= {"w2": weights(5, 4), "b2": weights(4), "w3": weights(3, 4)}
    return model(nodes, tensors, [info("x", ["b", 8])]).graph


@pytest.mark.parametrize("name", ["lifted_tensor_3", "/norm/Constant_1_output_0", "val_7"])
def test_what_an_exporter_made_of_a_literal_trains_only_if_it_is_named(name: str) -> None:
    """An attention's scale, a norm's fixed ones: they are told as frozen, with what to do."""
    nodes = [N("MatMul", ["x", "w"], ["h"]), N("Mul", ["h", name], ["y"])]
    tensors = {"w": weights(8, 5), name: weights(1)}
    graph = model(nodes, tensors, [info("x", ["b", 8])]).graph
    chosen, frozen = select(graph, "y", ())
    assert [tensor.name for tensor in chosen] == ["w"]
    assert frozen == [(name, "a number that was written into the program; name it to train it")]
    for selectors in (("last:1",), ("last:2",)):
        chosen, _ = select(graph, "y", selectors)
        assert [tensor.name for tensor in chosen] == ["w"]
    chosen, _ = select(graph, "y", (name,))
    assert [tensor.name for tensor in chosen] == [name]


def test_an_exporter_s_literal_that_is_added_is_no_bias() -> None:
    """A norm's epsilon, which could become negative."""
    nodes = [N("MatMul", ["x", "w"], ["h"]), N("Add", ["h", "b"], ["i"]), N("Add", ["i", "val_7"], ["y"])]
    tensors = {"w": weights(8, 5), "b": weights(5), "val_7": weights(1)}
    chosen, _ = select(model(nodes, tensors, [info("x", ["b", 8])]).graph, "y", ("bias",))
    assert [tensor.name for tensor in chosen] == ["b"]


@pytest.mark.parametrize(
    ("selectors", "chosen"),
    [
        ((), NAMES),
        (("w*",), {"w1", "w2", "w3"}),
        (("bias",), {"b1", "shift", "b2"}),
        (("last:1",), {"w3"}),
        (("last:2",), {"w2", "b2", "w3"}),
        (("last:3",), NAMES),
        (("last:9",), NAMES),
        (("last:1", "bias"), {"w3", "b1", "shift", "b2"}),
    ],
)
def test_selectors_add_up(selectors: tuple[str, ...], chosen: set[str]) -> None:
    """By name, from the last layers on, or whatever is added; and what is left out is noted."""
    tensors, frozen = select(graph(), "y", selectors)
    assert {tensor.name for tensor in tensors} == chosen
    assert dict(frozen) == dict.fromkeys(NAMES - chosen, "no selector names it")


@pytest.mark.parametrize("selector", ["head.*", "last:0"])
def test_a_selector_that_means_nothing_is_refused(selector: str) -> None:
    """With the names there are."""
    with pytest.raises(CompileError, match=f"matches '{selector.replace('*', '[*]')}'; those that can train are"):
        select(graph(), "y", (selector,))
