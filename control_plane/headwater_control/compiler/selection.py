"""Which parameters train: those that a pattern names, that belong to the last layers, or that are biases.

A selector is a name pattern (fnmatch: "head.*"), "last:N" (what the last N layers with weights read, and all behind
them), or "bias". Several add up; none selects everything that can train.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import prod

import onnx

from headwater_control.compiler import differentiable
from headwater_control.compiler.errors import CompileError

_VIEWS = {"Identity", "Transpose"}
_LAST = re.compile(r"last:(\d+)")
# PyTorch's exporters name so what was written into the program; val_N may be a weight too, if it was turned.
_LITERAL = re.compile(r"lifted_tensor_\d+|.*Constant(OfShape)?(_\d+)?_output_0")
_VALUE = re.compile(r"val_\d+")
# Where an operator takes its bias.
_BIAS_AT = {
    "BatchNormalization": 2, "Conv": 2, "ConvTranspose": 2, "GRU": 3, "Gemm": 2, "GroupNormalization": 2,
    "InstanceNormalization": 2, "LSTM": 3, "LayerNormalization": 2, "RNN": 3,
}  # fmt: skip


def select(
    graph: onnx.GraphProto, output: str, selectors: Sequence[str]
) -> tuple[list[onnx.TensorProto], list[tuple[str, str]]]:
    """Choose what trains, in the graph's order, and say what is frozen and why; raise `CompileError`."""
    flowing = differentiable.reached(graph, output)
    obstacles = {tensor.name: differentiable.obstacle(graph, tensor, flowing) for tensor in graph.initializer}
    able = [tensor for tensor in graph.initializer if not obstacles[tensor.name]]
    if not able:
        raise CompileError(
            f"the model has nothing to train: no float32 constant reaches {output!r} through derivatives"
        )
    chosen = _chosen(graph, able, obstacles, selectors)
    names = {tensor.name for tensor in chosen}
    frozen = []
    for tensor in graph.initializer:
        if tensor.name in names or not differentiable.is_weightlike(tensor):
            continue
        frozen.append((tensor.name, obstacles[tensor.name] or _left_out(tensor, selectors)))
    return chosen, frozen


def _left_out(tensor: onnx.TensorProto, selectors: Sequence[str]) -> str:
    if selectors:
        return "no selector names it"
    what = "a number that was written into the program" if tensor.dims else "a single number"
    return f"{what}; name it to train it"


def _chosen(
    graph: onnx.GraphProto, able: list[onnx.TensorProto], obstacles: Mapping[str, str], selectors: Sequence[str]
) -> list[onnx.TensorProto]:
    weights = [tensor for tensor in able if tensor.dims and not literal(tensor)]
    if not selectors:
        return weights or able
    tests = [_test(graph, weights, selector) for selector in selectors]
    for selector, test in zip(selectors, tests, strict=True):
        if not any(test(tensor.name) for tensor in able):
            raise CompileError(_unmatched(selector, able, obstacles))
    return [tensor for tensor in able if any(test(tensor.name) for test in tests)]


def literal(tensor: onnx.TensorProto) -> bool:
    """Tell the numbers of a program, such as an attention's scale, from weights: by the names exporters make up."""
    return bool(_LITERAL.fullmatch(tensor.name)) or (prod(tensor.dims) == 1 and bool(_VALUE.fullmatch(tensor.name)))


def _test(graph: onnx.GraphProto, weights: Sequence[onnx.TensorProto], selector: str) -> Callable[[str], bool]:
    """Say of a parameter's name whether the selector means it."""
    if found := _LAST.fullmatch(selector):
        names = _in_last_layers(graph, weights, int(found[1]))
        return names.__contains__
    if selector == "bias":
        names = _biases(graph, weights)
        return names.__contains__
    return lambda name: fnmatchcase(name, selector)


def _in_last_layers(graph: onnx.GraphProto, able: Sequence[onnx.TensorProto], count: int) -> set[str]:
    """Name what is read from the n-th last layer on: a layer is a node that reads a parameter of two axes or more."""
    dims = {tensor.name: len(tensor.dims) for tensor in able}
    read = [_read_by(graph, node) & dims.keys() for node in graph.node]
    layers = [place for place, names in enumerate(read) if any(dims[name] >= 2 for name in names)]
    if not layers or count < 1:
        return set()
    return set().union(*read[layers[-min(count, len(layers))] :])


def _read_by(graph: onnx.GraphProto, node: onnx.NodeProto) -> set[str]:
    """Name a node's inputs, and what they are only another view of: exporters put a Transpose behind a weight."""
    if node.op_type in _VIEWS:
        return set()  # it belongs to whoever reads it
    views = {made: view.input[0] for view in graph.node for made in view.output if view.op_type in _VIEWS}
    return {views.get(name, name) for name in node.input}


def _biases(graph: onnx.GraphProto, able: Sequence[onnx.TensorProto]) -> set[str]:
    """Name what is added: at a bias's place, or by an Add with something that was computed."""
    flat = {tensor.name for tensor in able if sum(size > 1 for size in tensor.dims) <= 1}
    found = set()
    for node in graph.node:
        place = _BIAS_AT.get(node.op_type)
        if place is not None and place < len(node.input):
            found.add(node.input[place])
        elif node.op_type == "Add":
            found.update(flat.intersection(node.input))
    return found & {tensor.name for tensor in able}


def _unmatched(selector: str, able: Sequence[onnx.TensorProto], obstacles: Mapping[str, str]) -> str:
    for name, why in obstacles.items():
        if why and fnmatchcase(name, selector):
            return f"{name!r}, which {selector!r} names, can't train: {why}"
    told = ", ".join(tensor.name for tensor in able[:12]) + (" …" if len(able) > 12 else "")
    return f"no parameter's name matches {selector!r}; those that can train are {told}"
