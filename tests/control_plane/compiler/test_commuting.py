"""Relu and MaxPool change places where that is the same."""

import numpy as np
import onnx
import pytest
from headwater_control.compiler import commuting, reference
from headwater_wire.manifest import TensorSpec
from onnx import TensorProto, helper


def model(*, shared: bool) -> onnx.ModelProto:
    """Make a Relu, pooled; `shared`: what it gives is added to too."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["y"], name="pool", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0]),
    ]
    outputs = ["y"]
    if shared:
        nodes.append(helper.make_node("Neg", ["r"], ["z"]))
        outputs.append("z")
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 5, 5])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, None, None]) for name in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize(("shared", "order"), [(False, ["MaxPool", "Relu"]), (True, ["Relu", "MaxPool", "Neg"])])
def test_a_relu_that_only_a_pool_reads_comes_last(shared: bool, order: list[str]) -> None:
    """The numbers are the same to the bit, the model is valid, and names go with their operators."""
    made = model(shared=shared)
    feed = reference.inputs((TensorSpec("x", "float32", (2, 5, 5)),), 3)
    (before,) = reference.run(made.SerializeToString(), feed)
    commuting.relu_last(made.graph)
    onnx.checker.check_model(made)
    (after,) = reference.run(made.SerializeToString(), feed)
    assert [node.op_type for node in made.graph.node] == order
    assert {node.name for node in made.graph.node if node.op_type == "MaxPool"} == {"pool"}
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])
