"""Softmax as it was before opset 13: over all axes from one on, which onnx's converter writes as three nodes more.

Where the axes behind the first are of size 1, as behind a global average pool, that is the present Softmax along it.
"""

from collections import Counter

import onnx

from headwater_control.compiler import lean
from headwater_control.compiler.constants import replace

_KINDS = {"Softmax", "LogSoftmax"}


def simplify(model: onnx.ModelProto) -> None:
    """Write Reshape(Softmax(Flatten(x)), Shape(x)) as one Softmax where that is the same."""
    graph = model.graph
    known = onnx.shape_inference.infer_shapes(lean.without_weights(model)).graph
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*known.value_info, *known.input)
    }
    makers = {made: node for node in graph.node for made in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    for node in [node for node in graph.node if node.op_type == "Reshape" and len(node.input) == 2]:
        softmax, shape = map(makers.get, node.input)
        flat = makers.get(softmax.input[0]) if softmax is not None else None
        if softmax is None or softmax.op_type not in _KINDS or flat is None or flat.op_type != "Flatten":
            continue
        axis, x = _axis(flat, 1), flat.input[0]
        told = shape is not None and shape.op_type == "Shape" and shape.input[0] == x and not shape.attribute
        alone = readers[softmax.output[0]] == readers[flat.output[0]] == 1
        if told and alone and axis > 0 and _axis(softmax, -1) in (-1, 1) and _ones(sizes.get(x, []), axis):
            _shorten(graph, node, softmax, x, axis)


def _shorten(graph: onnx.GraphProto, node: onnx.NodeProto, softmax: onnx.NodeProto, x: str, axis: int) -> None:
    """Let a Softmax do without what is before and behind it."""
    output = node.output[0]
    softmax.input[0], softmax.output[0] = x, output
    replace(softmax.attribute, [onnx.helper.make_attribute("axis", axis)])
    nodes = [other for other in graph.node if other == softmax or output not in other.output]
    read = {name for other in nodes for name in other.input} | {value.name for value in graph.output}
    replace(graph.node, [other for other in nodes if read.intersection(other.output)])


def _axis(node: onnx.NodeProto, default: int) -> int:
    return next((item.i for item in node.attribute if item.name == "axis"), default)


def _ones(dims: list[int], axis: int) -> bool:
    """Say whether an axis is there, and all behind it are of size 1."""
    return len(dims) > axis and all(size == 1 for size in dims[axis + 1 :])
