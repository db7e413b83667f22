"""What ONNX Runtime's gradient builder needs of a forward graph: one output, and no optional parts left out."""

import onnx
from onnx import helper

from headwater_agent.training.errors import NotPossible

# Its gradients read outputs that ONNX lets one leave out.
_OUTPUTS = {"LayerNormalization": 3, "Dropout": 2}


def cut_to(model: onnx.ModelProto, output: str) -> None:
    """Make `output`, which may be an inner tensor, the graph's only output, and drop what it doesn't need."""
    graph = model.graph
    known = {value.name: value for value in (*graph.output, *graph.value_info)}
    if output not in known:
        raise NotPossible(f"the bundle's graph has no tensor {output!r}: import the model again")
    needed, nodes = {output}, []
    for node in reversed(graph.node):  # ONNX wants them sorted, so one pass finds all
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    last = known[output]
    _replace(graph.node, reversed(nodes))
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    _replace(graph.value_info, [value for value in graph.value_info if value.name in needed - {output}])
    _replace(graph.output, [last])


def make_explicit(model: onnx.ModelProto) -> None:
    """Write down what the gradient builder takes for given."""
    for number, node in enumerate(model.graph.node):
        for place in range(len(node.output), _OUTPUTS.get(node.op_type, 0)):
            node.output.append(f"headwater.{number}.{place}")
        if node.op_type == "LayerNormalization" and len(node.input) == 2:
            _add_zero_bias(model.graph, node)


def _add_zero_bias(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    scale = next((tensor for tensor in graph.initializer if tensor.name == node.input[1]), None)
    if scale is None:
        return
    name = f"headwater.zeros.{node.output[0]}"
    size = 1
    for dim in scale.dims:
        size *= dim
    graph.initializer.append(helper.make_tensor(name, scale.data_type, list(scale.dims), [0.0] * size))
    node.input.append(name)


def _replace(field, items) -> None:  # type: ignore[no-untyped-def]  # protobuf's repeated fields have no usable type
    kept = list(items)
    del field[:]
    field.extend(kept)
