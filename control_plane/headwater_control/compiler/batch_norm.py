"""BatchNormalization: frozen by default, or trained by the statistics of each batch, as the file or the user says.

The graph that is kept, scored and exported always goes by the running statistics. Whether a training step goes by the
batch's is noted beside it: then the running ones belong to the parameters, move with every step, and come back with
the delta (Ioffe and Szegedy, 2015; averaged as McMahan et al., 2017, average all that a client holds).
"""

from collections.abc import Collection, Sequence

import onnx

from headwater_control.compiler.constants import captured, replace
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.selection import literal

SELECTOR, FROZEN = "batch_norm", "batch_norm:frozen"
_KIND = "BatchNormalization"
_DROPPED = "Dropout"


def wish(selectors: Sequence[str]) -> tuple[tuple[str, ...], bool | None]:
    """Take SELECTOR and FROZEN out of the selectors; None: neither is there, the file's own mode counts."""
    asked = {selector for selector in selectors if selector in (SELECTOR, FROZEN)}
    if len(asked) > 1:
        raise CompileError(f"{SELECTOR} and {FROZEN} exclude each other: give one of them")
    left = tuple(selector for selector in selectors if selector not in asked)
    return left, None if not asked else asked == {SELECTOR}


def to_inference(graph: onnx.GraphProto) -> set[str]:
    """Write BatchNormalization and Dropout as they infer; name the BatchNormalizations that were to train."""
    trained, told = set(), {value.name for value in graph.output}
    read = told.union(*(node.input for node in graph.node))
    for node in graph.node:
        if node.op_type == _KIND:
            if _flag(node) or len(node.output) == 5:  # before opset 14, so many outputs said that it trains
                trained.add(node.name)
                told.difference_update(node.output[1:])
            replace(node.attribute, [item for item in node.attribute if item.name != "training_mode"])
            del node.output[1:]
        elif node.op_type == _DROPPED and read.isdisjoint(node.output[1:]):
            del node.input[1:]
            del node.output[1:]
    replace(graph.output, [value for value in graph.output if value.name in told])
    return trained


def moving(
    graph: onnx.GraphProto, parameters: Collection[str], as_exported: Collection[str], wanted: bool | None
) -> list[str]:
    """Name the running statistics that train; raise `CompileError` if some are wanted and none can.

    They are those of each wanted node whose scale or bias trains, or that has none and lies behind what does.
    """
    floats = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    literals = {tensor.name for tensor in graph.initializer if literal(tensor)}
    moved = set(parameters)  # by training
    found: dict[str, None] = {}
    for node in graph.node:
        below = not moved.isdisjoint(node.input[:1])
        if not moved.isdisjoint((*node.input, *captured(node))):
            moved.update(node.output)
        if node.op_type == _KIND and (node.name in as_exported if wanted is None else wanted):
            trains = not set(node.input[1:3]).isdisjoint(parameters)
            without_own = below and literals.issuperset(node.input[1:3])  # PyTorch's affine=False
            if (trains or without_own) and floats.issuperset(node.input[3:5]):
                found.update(dict.fromkeys(node.input[3:5]))
    if wanted and not found:
        raise CompileError(f"{SELECTOR}: the model has no BatchNormalization whose scale or bias trains")
    return list(found)


def _flag(node: onnx.NodeProto) -> bool:
    return any(item.name == "training_mode" and item.i for item in node.attribute)
