"""Gives each parameter a constant of its own again, where an exporter has merged those that were equal.

Before training many are: scales are 1, biases 0, the layers of a stack copies of one. PyTorch's exporters keep one of
each: the older one lets the others be its Identity, the newer one lets several nodes read it. Trained so, a bias would
drag along another layer's, or a running mean. What a model shares on purpose stays shared: it is read in another way,
as an embedding is that is the output's weights too, or its values differ, or it is read by one module only.
"""

import ast
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from headwater_control.compiler.constants import array, replace

_SCOPES = "pkg.torch.onnx.name_scopes"
_ROLES = {
    "Add": {0: "bias", 1: "bias"},
    "BatchNormalization": {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"},
    "Conv": {2: "bias"},
    "ConvTranspose": {2: "bias"},
    "Gemm": {2: "bias"},
    "GroupNormalization": {1: "weight", 2: "bias"},
    "InstanceNormalization": {1: "weight", 2: "bias"},
    "LayerNormalization": {1: "weight", 2: "bias"},
}
_STATISTICS = {"running_mean", "running_var"}


def separate(model: onnx.ModelProto) -> None:
    """Copy what was merged, under the names that the parameters had."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def copy(name: str, wanted: str) -> None:
        constants[wanted] = graph.initializer.add()
        constants[wanted].CopyFrom(constants[name])
        constants[wanted].name = wanted

    _separate_identities(graph, constants, copy)
    _separate_roles(graph, constants, copy)


def _separate_identities(
    graph: onnx.GraphProto, constants: dict[str, TensorProto], copy: Callable[[str, str], None]
) -> None:
    """Let an Identity of a parameter be one itself, if all its numbers are the same or it is read as the other is."""
    ways = defaultdict(set)
    for node in graph.node:
        for place, name in enumerate(node.input):
            ways[name].add((node.op_type, place))
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in constants and node.output[0] not in outputs:
            one, other = node.input[0], node.output[0]
            if _uniform(constants[one]) or ways[one] - {("Identity", 0)} == ways[other]:
                copy(one, other)
                continue
        kept.append(node)
    replace(graph.node, kept)


def _separate_roles(
    graph: onnx.GraphProto, constants: dict[str, TensorProto], copy: Callable[[str, str], None]
) -> None:
    """Where several modules read a constant of equal numbers, give each its own; and a statistic never to a weight."""
    uses: dict[str, list[tuple[onnx.NodeProto, int, str]]] = defaultdict(list)
    for node in graph.node:
        roles = _ROLES.get(node.op_type, {})
        for place, name in enumerate(node.input):
            if name in constants:
                uses[name].append((node, place, _own_name(node, name, roles.get(place, ""))))
    for name, read in uses.items():
        if len({wanted for _, _, wanted in read}) == 1 or not _uniform(constants[name]):
            continue
        for node, place, wanted in read:
            if wanted not in constants:
                copy(name, wanted)
            node.input[place] = wanted


def _own_name(node: onnx.NodeProto, name: str, role: str) -> str:
    """Say what a constant would be called if nobody else read it."""
    module = _module(node)
    if module and role:
        return f"{module}.{role}"
    return f"{name}.{role}" if role in _STATISTICS else name


def _uniform(tensor: TensorProto) -> bool:
    """Say whether it holds one number over and over, as no weight does once it has trained."""
    if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 1:
        return False
    values = array(tensor)
    return bool(values.size > 0 and np.all(values == values[0]))


def _module(node: onnx.NodeProto) -> str:
    """Name the module that a node comes from, as PyTorch's newer exporter tells it; "": it does not."""
    told = next((item.value for item in node.metadata_props if item.key == _SCOPES), "[]")
    try:
        scopes = ast.literal_eval(told)
    except (ValueError, SyntaxError):
        return ""
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) >= 2 else ""
