"""A node of the forward graph, as its rule sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from headwater_control.compiler.autodiff.types import Array
from headwater_control.compiler.errors import CompileError


@dataclass(frozen=True, slots=True)
class Node:
    """Names of tensors, attributes by name, and the values of those inputs that are constants."""

    kind: str
    name: str
    inputs: tuple[str, ...]  # "": left out
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    constants: Mapping[str, Array]  # of the whole graph

    @property
    def x(self) -> str:
        """Name the first input."""
        return self.inputs[0]

    @property
    def y(self) -> str:
        """Name the first output."""
        return self.outputs[0]

    def input(self, place: int) -> str:
        """Name an input; "" if it is left out."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def attribute(self, name: str, default: Any) -> Any:
        """Give an attribute, or its default."""
        return self.attributes.get(name, default)

    def value(self, place: int) -> Array | None:
        """Give the value of an input that must be a constant; None if it is left out. Raises `CompileError`."""
        name = self.input(place)
        if not name:
            return None
        if name not in self.constants:
            raise self.refused(f"its input {place} ({name!r}) is computed: export it as a constant")
        return self.constants[name]

    def refused(self, why: str) -> CompileError:
        """Make the error that says this node can't be differentiated, and why."""
        return CompileError(f"the node {self.name!r} ({self.kind}) can't be differentiated: {why}")


def read(proto: onnx.NodeProto, constants: Mapping[str, Array]) -> Node:
    """Make the view of a node."""
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in proto.attribute}
    for name, value in attributes.items():
        if isinstance(value, bytes):
            attributes[name] = value.decode()
    return Node(proto.op_type, proto.name, tuple(proto.input), tuple(proto.output), attributes, constants)
