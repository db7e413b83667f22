"""A model's inputs and outputs as devices see them: a batch axis of any size, then fixed shapes."""

from math import prod
from typing import Any

import numpy as np
import onnx
from headwater_wire.graphs import LABEL, PREFIX
from headwater_wire.manifest import TensorSpec
from numpy.typing import NDArray
from onnx import TensorProto, helper

from headwater_control.compiler import folding, reference
from headwater_control.compiler.constants import captured
from headwater_control.compiler.errors import CompileError

_DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
# Float32 sums of another order: of the largest number.
_WITHIN = 1e-3


def inputs(graph: onnx.GraphProto) -> tuple[TensorSpec, ...]:
    """Read the inputs; raise `CompileError` naming the first that can't be fed by batches of examples."""
    if not graph.input:
        raise CompileError("the model has no input: there is nothing to feed examples to")
    return tuple(_input(value) for value in graph.input)


def outputs(model: onnx.ModelProto, specs: tuple[TensorSpec, ...]) -> tuple[tuple[TensorSpec, ...], bool]:
    """Find the outputs' shapes by running two batch sizes: what a graph declares need not be what it does.

    Scalars, which are no answers to examples, are left out. Says too whether examples change each other's answers.
    """
    feeds = [reference.inputs(specs, examples) for examples in ((2, 3, 2) if _maybe_random(model.graph) else (2, 3))]
    small, large, *again = reference.run(model.SerializeToString(), *feeds)
    for name, values in small.items():
        if again and not np.array_equal(values, again[0][name], equal_nan=values.dtype.kind == "f"):
            raise CompileError(
                f"the output {name!r} is not the same twice on the same input: export the model in evaluation mode "
                "(model.eval() before torch.onnx.export), without random operators"
            )
    found = tuple(_output(name, small[name], large[name]) for name in small if small[name].ndim or large[name].ndim)
    return found, any(not _alike(small[spec.name], large[spec.name][:2]) for spec in found)


def _maybe_random(graph: onnx.GraphProto) -> bool:
    """Say whether any node could give something else the next time: by its kind, or by what it holds within."""
    return any(node.op_type in {*folding.RANDOM, "Dropout"} or captured(node) for node in graph.node)


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    scale = np.abs(one[np.isfinite(one)]).max(initial=0)
    return np.allclose(one, other, rtol=_WITHIN, atol=_WITHIN * scale, equal_nan=True)


def check_names(graph: onnx.GraphProto, output: str) -> None:
    """Raise `CompileError` if a tensor that `output` depends on has a name that the training graphs give."""
    needed = {output}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.output, node.input, captured(node))
    for name in sorted(needed):
        if name == LABEL or name.startswith(PREFIX):
            raise CompileError(f"a tensor of the model is called {name!r}, as one of Headwater's own is: rename it")


def _input(value: onnx.ValueInfoProto) -> TensorSpec:
    name, kind = value.name, value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise CompileError(f"the input {name!r} is no tensor of known rank: export it as a tensor")
    if name == LABEL:
        raise CompileError(f"an input may not be called {name!r}, which stands for the labels: rename it")
    if (
        kind.elem_type == TensorProto.UNDEFINED
        or (dtype := str(helper.tensor_dtype_to_np_dtype(kind.elem_type))) not in _DTYPES
    ):
        raise CompileError(
            f"the input {name!r} is of a type that datasets can't hold; take one of {', '.join(_DTYPES)}"
        )
    dims = kind.shape.dim
    if not dims or dims[0].HasField("dim_value"):
        fixed = f"the fixed batch size {dims[0].dim_value}" if dims else "no batch axis"
        raise CompileError(
            f"the input {name!r} has {fixed}: export the model with a dynamic first axis "
            f"(torch.onnx.export(…, dynamic_axes={{{name!r}: {{0: 'batch'}}}}))"
        )
    for place, dim in enumerate(dims[1:], 1):
        if not dim.HasField("dim_value"):
            raise CompileError(
                f"the input {name!r} is dynamic in axis {place} ({dim.dim_param or 'unnamed'}) too: only the first, "
                "the batch, may be; export it with a fixed size there"
            )
    shape = tuple(int(dim.dim_value) for dim in dims[1:])
    if prod(shape) < 1:
        raise CompileError(f"the input {name!r} is [batch, {', '.join(map(str, shape))}]: it holds no numbers")
    return TensorSpec(name, dtype, shape)


def _output(name: str, small: NDArray[Any], large: NDArray[Any]) -> TensorSpec:
    if small.shape[:1] != (2,) or large.shape != (3, *small.shape[1:]):
        shapes = f"{list(small.shape)} for 2 examples and {list(large.shape)} for 3"
        raise CompileError(f"the output {name!r} is {shapes}: its first axis must be the batch, and only that may vary")
    if not small.size:
        raise CompileError(
            f"the output {name!r} is [batch, {', '.join(map(str, small.shape[1:]))}]: it holds no numbers"
        )
    return TensorSpec(name, str(small.dtype), tuple(int(size) for size in small.shape[1:]))
