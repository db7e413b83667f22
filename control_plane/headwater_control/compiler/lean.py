"""Spares onnx's own tools the weights, which they would copy several times over: to them they are inputs."""

import onnx
from onnx import TensorProto, helper

from headwater_control.compiler.constants import replace

_WEIGHT_BYTES = 4096  # smaller ones may be shapes and axes, whose values the tools do read


def weights(graph: onnx.GraphProto) -> list[TensorProto]:
    """Give the initializers that are large."""
    return [tensor for tensor in graph.initializer if len(tensor.raw_data) >= _WEIGHT_BYTES]


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model, with an input in each large initializer's place."""
    graph = model.graph
    lean = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    for field, value in graph.ListFields():
        if field.name == "name":
            lean.graph.name = value
        elif field.name != "initializer":
            getattr(lean.graph, field.name).MergeFrom(value)
    declared = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if len(tensor.raw_data) < _WEIGHT_BYTES:
            lean.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            lean.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return lean


def with_weights(lean: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the large initializers of `model` back into what became of its lean copy."""
    graph = lean.graph
    taken = weights(model.graph)
    added = {tensor.name for tensor in taken} - {value.name for value in model.graph.input}
    replace(graph.input, [value for value in graph.input if value.name not in added])
    graph.initializer.extend(taken)
    return lean
