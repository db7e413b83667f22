"""What each tensor of a graph is: its dtype, and its shape, with None for a size that grows with the batch.

Shapes are measured, not inferred: the graph runs on two batch sizes. What an exporter declares need not be what a graph
does, and inference gives up where shapes are computed.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from headwater_control.compiler.constants import needed
from headwater_control.compiler.errors import CompileError

Array = npt.NDArray[Any]
Dims = tuple[int | None, ...]
Feed = Mapping[str, Array]
Evaluate = Callable[..., list[dict[str, Array]]]  # of a model and feeds: every output, by name, for each feed


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor's dtype and shape; None stands for a size that grows with the batch."""

    dtype: np.dtype[Any]
    dims: Dims

    @property
    def rank(self) -> int:
        """Count the axes."""
        return len(self.dims)

    @property
    def fixed(self) -> bool:
        """Say whether the batch changes nothing of the shape."""
        return None not in self.dims

    @property
    def floating(self) -> bool:
        """Say whether it has a derivative at all."""
        return self.dtype.kind == "f"

    @property
    def elements(self) -> int:
        """Count the numbers in one example, or in all if the shape is fixed."""
        return prod(size for size in self.dims if size is not None)

    def axis(self, axis: int) -> int:
        """Give a non-negative axis for one that may count from the end."""
        return axis + self.rank if axis < 0 else axis

    def size(self, axis: int) -> int:
        """Give the fixed size of an axis; raise `CompileError` if it grows with the batch."""
        size = self.dims[axis]
        if size is None:
            raise CompileError(f"the size of axis {self.axis(axis)} must not depend on the batch here")
        return size


@dataclass(frozen=True, slots=True)
class Measured:
    """What two runs told of a graph."""

    types: dict[str, TensorType]  # of every tensor, constants too
    settled: dict[str, Array]  # values that were computed, but of shapes and constants alone, and did not change


def measure(
    model: onnx.ModelProto,
    small: Feed,
    large: Feed,
    evaluate: Evaluate,
    varying: Collection[str] = (),
    largest: Feed | None = None,
) -> Measured:
    """Run the graph twice, on feeds whose batches are of different sizes; `varying` are constants that will change.

    What seems settled, such as the smaller of the batch's size and two, must be so on `largest` too.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    made = [name for node in probe.graph.node for name in node.output if name]
    declared = {value.name for value in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in declared)
    first, second = evaluate(probe, small, large)
    types = {
        tensor.name: TensorType(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims))
        for tensor in probe.graph.initializer
    }
    for name, values in small.items():
        types[name] = _between(values, large[name])
    for name in made:
        types[name] = _between(first[name], second[name])
    of_shapes = _of_shapes(probe.graph, varying)
    settled = {name: first[name] for name in of_shapes if np.array_equal(first[name], second[name])}
    if settled and largest is not None:
        (third,) = evaluate(_cut(probe, settled), largest)
        settled = {name: value for name, value in settled.items() if np.array_equal(value, third[name])}
    return Measured(types, settled)


def _cut(model: onnx.ModelProto, outputs: Collection[str]) -> onnx.ModelProto:
    """Copy what these depend on: of a large model a few nodes, as a rule."""
    graph = model.graph
    kept, used = needed(graph.node, outputs)
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = graph.name
    part.graph.node.extend(kept)
    part.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in used)
    part.graph.input.extend(graph.input)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(outputs))
    return part


def _of_shapes(graph: onnx.GraphProto, varying: Collection[str]) -> list[str]:
    """Name what depends on the shapes of tensors, but on no number of an input or a parameter."""
    known = {tensor.name for tensor in graph.initializer} - set(varying)
    found: list[str] = []
    for node in graph.node:
        if node.op_type in {"Shape", "Size"} or known.issuperset(filter(None, node.input)):
            found += filter(None, node.output)
            known.update(node.output)
    return found


def _between(small: Array, large: Array) -> TensorType:
    if small.ndim != large.ndim:
        raise CompileError("a tensor's rank depends on the batch size: export the model with a fixed rank")
    sizes = zip(small.shape, large.shape, strict=True)
    return TensorType(small.dtype, tuple(one if one == other else None for one, other in sizes))
