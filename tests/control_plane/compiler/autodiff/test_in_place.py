"""The graphs of small memory may write where they read: all that reads a value comes before what replaces it."""

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from headwater_control.compiler.autodiff.optimizers import OPTIMIZERS, Options
from headwater_control.compiler.training import compile_graphs
from headwater_wire import graphs
from headwater_wire.manifest import Loss, TensorSpec
from onnx import TensorProto, helper, numpy_helper

STATISTICS = ["mean", "variance"]
PARAMETERS = ["w", "scale", "bias", *STATISTICS]
ALL = Options(weight_decay=True, clip_norm=True, proximal=True)


def model() -> onnx.ModelProto:
    """Make x·w twice, each time through the same BatchNormalization."""
    values = {
        "w": np.eye(3, dtype=np.float32),
        "scale": np.ones(3, np.float32),
        "bias": np.zeros(3, np.float32),
        "mean": np.zeros(3, np.float32),
        "variance": np.ones(3, np.float32),
    }
    norm = ["scale", "bias", "mean", "variance"]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("BatchNormalization", ["a", *norm], ["b"], name="first"),
        helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *norm], ["y"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("options", [Options(), ALL], ids=["plain", "all"])
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_new_value_is_made_of_all_that_reads_the_old(optimizer: str, options: Options) -> None:
    """So no order of execution can read a number that was replaced already."""
    loss = Loss("mse", "y", TensorSpec("label", "float32", (3,)))
    inputs = (TensorSpec("x", "float32", (3,)),)
    made = compile_graphs(model(), inputs, loss, PARAMETERS, optimizer, options, STATISTICS)
    pairs = [*in_place(made.accumulate.graph), *in_place(made.update.graph)]
    assert {name for name, _, _ in pairs} >= {graphs.total("w"), "w", "mean", "variance"}
    for name, readers, ancestors in pairs:
        assert readers <= ancestors, f"{name} is read by {readers - ancestors} too"


def test_the_graph_of_the_whole_batch_is_no_such() -> None:
    """There a weight is read by what flows on to others: it needs two sets."""
    loss = Loss("mse", "y", TensorSpec("label", "float32", (3,)))
    made = compile_graphs(model(), (TensorSpec("x", "float32", (3,)),), loss, PARAMETERS, "sgd", None, STATISTICS)
    assert any(not readers <= ancestors for _, readers, ancestors in in_place(made.train.graph))


def in_place(graph: onnx.GraphProto) -> Iterator[tuple[str, set[str], set[str]]]:
    """Give each input that has an output in its place: who reads it, and all that the output is made by."""
    makers = {output: node for node in graph.node for output in node.output}
    for value in graph.input:
        if graphs.new(value.name) in makers:
            readers = {node.output[0] for node in graph.node if value.name in node.input}
            yield value.name, readers, _ancestors(makers, graphs.new(value.name))


def _ancestors(makers: dict[str, onnx.NodeProto], name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.output[0] not in found:
            found.add(node.output[0])
            waiting += node.input
    return found
