"""Writes sequences of tensors as the tensors that they hold: exporters put chunk, unbind and split that way."""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from headwater_control.compiler.constants import array, replace
from headwater_control.compiler.errors import CompileError

_KINDS = {
    "ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
    "SequenceLength", "SplitToSequence",
}  # fmt: skip
_MOST = 4096  # parts of a sequence


def unfold(model: onnx.ModelProto) -> None:
    """Do without sequences, whose lengths and places must be constants; raise `CompileError` naming the node."""
    graph = model.graph
    if any(node.op_type in _KINDS for node in graph.node):
        replace(graph.node, list(_Unfolding(model).nodes()))


class _Unfolding:
    def __init__(self, model: onnx.ModelProto) -> None:
        known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self._graph = model.graph
        self._shapes = {
            value.name: value.type.tensor_type.shape
            for value in (*known.input, *known.value_info)
            if value.type.HasField("tensor_type")
        }
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._held: dict[str, list[str]] = {}  # by sequence: the tensors

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Give the nodes that stay, and others for those that do not."""
        for node in self._graph.node:
            if node.op_type in _KINDS:
                yield from self._instead(node)
            else:
                yield node

    def _instead(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        output = node.output[0]
        match node.op_type:
            case "SplitToSequence":
                yield from self._split(node)
            case "SequenceConstruct":
                self._held[output] = list(node.input)
            case "SequenceEmpty":
                self._held[output] = []
            case "SequenceInsert":
                held = list(self._sequence(node))
                held.insert(self._place(node, 2, len(held), len(held)), node.input[1])
                self._held[output] = held
            case "SequenceErase":
                held = list(self._sequence(node))
                del held[self._place(node, 1, -1, len(held) - 1)]
                self._held[output] = held
            case "SequenceLength":
                self._constant(output, np.array(len(self._sequence(node)), np.int64))
            case "SequenceAt":
                held = list(self._sequence(node))
                chosen = held[self._place(node, 1, -1, len(held) - 1)]
                yield helper.make_node("Identity", [chosen], [output], node.name)
            case _:
                yield from self._concat(node)

    def _split(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        output, axis = node.output[0], _attribute(node, "axis", 0)
        sizes = self._sizes(node, axis)
        self._constant(f"{output}.sizes", np.array(sizes, np.int64))
        parts = [f"{output}.{place}" for place in range(len(sizes))]
        yield helper.make_node("Split", [node.input[0], f"{output}.sizes"], parts, node.name, axis=axis)
        if len(node.input) < 2 and not _attribute(node, "keepdims", 1):
            self._constant(f"{output}.axis", np.array([axis], np.int64))
            for part in parts:
                name = f"{part}.squeezed"
                yield helper.make_node("Squeeze", [part, f"{output}.axis"], [name], name)
            parts = [f"{part}.squeezed" for part in parts]
        self._held[output] = parts

    def _sizes(self, node: onnx.NodeProto, axis: int) -> list[int]:
        """Give the size of each part: what a list says, or what the whole axis holds of one size."""
        given = array(self._constants[node.input[1]]) if self._is_constant(node, 1) else None
        if given is not None and given.ndim:
            return [int(size) for size in given]
        if given is None and len(node.input) > 1 and node.input[1]:
            raise _refused(node, "its sizes are computed")
        dims = self._shapes[node.input[0]].dim if node.input[0] in self._shapes else []
        if not -len(dims) <= axis < len(dims) or not dims[axis].HasField("dim_value"):
            raise _refused(node, f"the size of axis {axis} of {node.input[0]!r} is not known")
        whole, size = dims[axis].dim_value, 1 if given is None else int(given)
        if size < 1 or whole > size * _MOST:
            raise _refused(node, f"it would have more than {_MOST} parts")
        return [min(size, whole - start) for start in range(0, whole, size)]

    def _concat(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        output, axis, held = node.output[0], _attribute(node, "axis", 0), self._sequence(node)
        if _attribute(node, "new_axis", 0):
            self._constant(f"{output}.axis", np.array([axis], np.int64))
            names = [f"{output}.{place}" for place in range(len(held))]
            for part, name in zip(held, names, strict=True):
                yield helper.make_node("Unsqueeze", [part, f"{output}.axis"], [name], name)
            held = names
        yield helper.make_node("Concat", held, [output], node.name, axis=axis)

    def _sequence(self, node: onnx.NodeProto) -> Sequence[str]:
        if node.input[0] not in self._held:
            raise _refused(node, "where its sequence comes from can't be told")
        return self._held[node.input[0]]

    def _place(self, node: onnx.NodeProto, place: int, default: int, last: int) -> int:
        if len(node.input) <= place or not node.input[place]:
            return default
        if not self._is_constant(node, place):
            raise _refused(node, "the place in its sequence is computed")
        found = int(array(self._constants[node.input[place]]))
        if not -len(self._sequence(node)) <= found <= last:
            raise _refused(node, f"there is nothing at its place {found}")
        return found

    def _is_constant(self, node: onnx.NodeProto, place: int) -> bool:
        return len(node.input) > place and node.input[place] in self._constants

    def _constant(self, name: str, values: np.ndarray) -> None:
        self._constants[name] = numpy_helper.from_array(values, name)
        self._graph.initializer.append(self._constants[name])


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((item.i for item in node.attribute if item.name == name), default)


def _refused(node: onnx.NodeProto, why: str) -> CompileError:
    return CompileError(
        f"the node {node.name!r} ({node.op_type}) handles a sequence of tensors, and {why}: "
        "export the model with fixed sizes, or split it by slices"
    )
