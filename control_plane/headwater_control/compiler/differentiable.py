"""Which parameters a loss can move: those it reaches backwards along edges that have a derivative."""

import numpy as np
import onnx

from headwater_control.compiler.constants import array

# Operators whose output does not change smoothly with any input.
FLAT = {
    "And", "ArgMax", "ArgMin", "BitShift", "Ceil", "ConstantOfShape", "Equal", "EyeLike", "Floor", "Greater",
    "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "NonMaxSuppression", "NonZero", "Not", "OneHot", "Or",
    "Range", "Round", "Shape", "Sign", "Size", "Xor",
}  # fmt: skip
# Inputs that only steer an operator: its derivative with respect to them is not defined, or not wanted.
STEERING = {
    "BatchNormalization": {3, 4},  # running mean and variance: statistics, not weights
    "Clip": {1, 2},
    "CumSum": {1},
    "Dropout": {1, 2},
    "Expand": {1},
    "Gather": {1},
    "GatherElements": {1},
    "GatherND": {1},
    "Pad": {1, 2, 3},
    "Reshape": {1},
    "Resize": {1, 2, 3},
    "Slice": {1, 2, 3, 4},
    "Tile": {1},
    "TopK": {1},
    "Trilu": {1},
    "Where": {0},
}
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)


def reached(graph: onnx.GraphProto, output: str) -> set[str]:
    """Name every tensor from which a derivative could flow to `output`."""
    names = {output}
    for node in reversed(graph.node):  # ONNX wants them sorted, so one pass finds all
        if node.op_type not in FLAT and names.intersection(node.output):
            steering = STEERING.get(node.op_type, set())
            names.update(name for place, name in enumerate(node.input) if place not in steering)
    return names


def obstacle(graph: onnx.GraphProto, tensor: onnx.TensorProto, flowing: set[str]) -> str:
    """Say why a constant can't train, or "" if it can."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return f"it is {onnx.TensorProto.DataType.Name(tensor.data_type).lower()}; only float32 trains"
    if tensor.name in flowing:
        return "" if np.isfinite(array(tensor)).all() else "it holds values that are not finite"
    users = [node for node in graph.node if tensor.name in node.input]
    for node in users:
        if node.op_type == "BatchNormalization":
            return f"it is a running statistic of the node {node.name!r}; batch_norm would let it follow the batches"
    where = f" (it feeds the node {users[0].name!r}, {users[0].op_type})" if users else ""
    return f"no derivative flows from it to the loss{where}"


def is_weightlike(tensor: onnx.TensorProto) -> bool:
    """Tell floating-point constants, which could be weights, from shapes, axes and indices."""
    return tensor.data_type in _FLOATS
