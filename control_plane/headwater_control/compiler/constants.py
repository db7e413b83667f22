"""Brings every constant of a graph into one place, its initializers, whatever way the exporter wrote it."""

from collections.abc import Collection, Mapping, Sequence
from math import prod

import numpy as np
import onnx
from onnx import numpy_helper

from headwater_control.compiler.errors import CompileError

MOST_BYTES = 512 * 1024 * 1024  # of a constant that is written out: as much as a whole file may have
_PLAIN = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def gather(model: onnx.ModelProto) -> None:
    """Turn nodes that are constants into initializers, take these off the inputs, drop unused ones, name every node."""
    graph = model.graph
    outputs = {value.name for value in graph.output}
    known = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        tensor = _constant(node, known) if outputs.isdisjoint(node.output) else None
        if tensor is None:
            nodes.append(node)
        else:
            known[tensor.name] = tensor
            graph.initializer.append(tensor)
    replace(graph.node, nodes)
    used = _used(graph) | outputs
    names = {tensor.name for tensor in graph.initializer}
    replace(graph.input, [value for value in graph.input if value.name not in names])
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    _name(graph)


def _name(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own: onnxruntime refuses two of the same."""
    taken: set[str] = set()
    for number, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        while node.name in taken:
            node.name += f"_{number}"
        taken.add(node.name)


def array(tensor: onnx.TensorProto) -> np.ndarray:
    """Read a tensor's values."""
    values: np.ndarray = numpy_helper.to_array(tensor)
    return values


def _constant(node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]) -> onnx.TensorProto | None:
    if node.op_type == "ConstantOfShape" and node.input[0] in known:
        return _of_shape(node, array(known[node.input[0]]))
    for attribute in node.attribute if node.op_type == "Constant" else ():
        if attribute.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(attribute.t)
            tensor.name = node.output[0]
            return tensor
        if attribute.name in _PLAIN:
            value = onnx.helper.get_attribute_value(attribute)
            return numpy_helper.from_array(np.array(value, _PLAIN[attribute.name]), node.output[0])
    return None  # a string, or a sparse tensor: it stays a node


def _of_shape(node: onnx.NodeProto, shape: np.ndarray) -> onnx.TensorProto:
    """Write out what a ConstantOfShape gives."""
    value = array(node.attribute[0].t) if node.attribute else np.zeros(1, np.float32)
    dims = shape.tolist()
    if min(dims, default=0) < 0 or prod(dims) * value.itemsize > MOST_BYTES:
        raise CompileError(
            f"the node {node.name or node.output[0]!r} (ConstantOfShape) makes {dims} numbers; {MOST_BYTES} bytes "
            "is the limit for a constant"
        )
    return numpy_helper.from_array(np.full(dims, value[0]), node.output[0])


def captured(node: onnx.NodeProto) -> set[str]:
    """Name what a node's subgraphs read, outer tensors among them."""
    inner = (graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs))
    return {name for graph in inner for name in (*_used(graph), *(value.name for value in graph.output))}


def needed(nodes: Sequence[onnx.NodeProto], outputs: Collection[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """Keep the nodes that the outputs depend on, in their order, and name all tensors these use."""
    used, kept = set(outputs), []
    for node in reversed(nodes):
        if used.intersection(node.output):
            used.update((*node.input, *captured(node)))
            kept.append(node)
    return kept[::-1], used


def _used(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in (*node.input, *captured(node))}


def replace(field, items) -> None:  # type: ignore[no-untyped-def]  # protobuf's repeated fields have no usable type
    """Put other items into a repeated field."""
    kept = list(items)
    del field[:]
    field.extend(kept)
