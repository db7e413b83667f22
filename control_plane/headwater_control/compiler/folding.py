"""Computes what depends on constants only, once, here, instead of at each step on each device."""

from collections.abc import Collection, Mapping

import onnx
from onnx import numpy_helper

from headwater_control.compiler import reference
from headwater_control.compiler.constants import captured, replace

_MOST_BYTES = 64 << 20  # of one folded tensor: a larger one is cheaper to compute than to send
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


def fold(model: onnx.ModelProto, varying: Collection[str]) -> None:
    """Turn every tensor that no input and none of `varying` (parameters) can change into an initializer."""
    graph = model.graph
    fixed = {tensor.name for tensor in graph.initializer} - set(varying)
    outputs = {value.name for value in graph.output}
    folded: list[onnx.NodeProto] = []
    wanted: set[str] = set()
    for node in graph.node:
        known = all(name in fixed for name in node.input if name)
        plain = node.op_type not in RANDOM and not any(a.HasField("g") or a.graphs for a in node.attribute)
        if known and plain and not outputs.intersection(node.output):
            folded.append(node)
            fixed.update(name for name in node.output if name)
        else:
            wanted.update((*node.input, *captured(node)))
    wanted &= {name for node in folded for name in node.output}
    if wanted:
        put(graph, _compute(model, folded, wanted))


def put(graph: onnx.GraphProto, values: Mapping[str, reference.Array]) -> None:
    """Replace the nodes that compute these tensors, if they are of any use, by constants."""
    outputs = {value.name for value in graph.output}
    small = {name for name, value in values.items() if value.nbytes <= _MOST_BYTES and name not in outputs}
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(set(node.output) - small):
            needed.update((*node.input, *captured(node)))
            kept.append(node)
    made = {name for node in kept for name in node.output}
    replace(graph.node, kept[::-1])
    graph.initializer.extend(numpy_helper.from_array(values[name], name) for name in sorted(small & needed - made))
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])


def _compute(model: onnx.ModelProto, nodes: list[onnx.NodeProto], wanted: set[str]) -> dict[str, reference.Array]:
    probe = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    probe.graph.name = "constants"
    probe.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    probe.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in used)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted))
    (values,) = reference.run(probe.SerializeToString(), {})
    return values
