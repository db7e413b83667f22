"""Frees the batch axis of a model that was exported for one batch size."""

import numpy as np
import onnx
from headwater_wire.manifest import TensorSpec
from onnx import helper, numpy_helper

from headwater_control.compiler import batch_norm, reference
from headwater_control.compiler.constants import captured
from headwater_control.compiler.errors import CompileError

# Float32 sums of another order: of the largest number.
_WITHIN = 1e-3


def free(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let the first axis vary, if each input and output has the same size there and the examples stay independent.

    The constants must be initializers. A model that is not meant so, or can't be run so, is given back as it is.
    """
    size = _common_size(model.graph)
    if size is None:
        return model
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]  # their shapes tell of the old size
    _free_reshapes(graph, size)
    trial = onnx.ModelProto()
    trial.CopyFrom(freed)
    batch_norm.to_inference(trial.graph)  # in training its examples do depend on each other
    return freed if _independent(trial, size) else model


def _common_size(graph: onnx.GraphProto) -> int | None:
    """Give the first size that all inputs and outputs declare; None: there is no such."""
    firsts = [value.type.tensor_type.shape.dim[:1] for value in (*graph.input, *graph.output)]
    sizes = {first[0].dim_value if first and first[0].HasField("dim_value") else 0 for first in firsts}
    return sizes.pop() if len(sizes) == 1 and 0 not in sizes else None


def _free_reshapes(graph: onnx.GraphProto, size: int) -> None:
    """Where a Reshape says the batch size: let it be what is left, or what it was before."""
    known = {tensor.name: tensor for tensor in graph.initializer}
    moving = {value.name for value in graph.input}
    for node in graph.node:
        if moving.isdisjoint((*node.input, *captured(node))):
            continue
        moving.update(node.output)
        if node.op_type != "Reshape" or node.input[1] not in known:
            continue
        target = numpy_helper.to_array(known[node.input[1]]).copy()
        if target.size and target[0] == size:
            target[0] = 0 if -1 in target else -1
            name = f"{node.output[0]}.shape"
            graph.initializer.append(numpy_helper.from_array(target, name))
            node.input[1] = name


def _independent(model: onnx.ModelProto, size: int) -> bool:
    """Say whether a batch gives what its examples give one by one, and is one where `size` examples were."""
    specs = [_spec(value) for value in model.graph.input]
    if None in specs:
        return False
    whole = reference.inputs([spec for spec in specs if spec], size + 1)
    parts = [{name: values[place : place + 1] for name, values in whole.items()} for place in range(size + 1)]
    try:
        together, *apart = reference.run(model.SerializeToString(), whole, *parts)
    except CompileError:
        return False
    for name, values in together.items():
        joined = [part[name] for part in apart]
        if values.shape != (size + 1, *joined[0].shape[1:]) or any(part.shape[0] != 1 for part in joined):
            return False
        scale = np.abs(values[np.isfinite(values)]).max(initial=0)
        if not np.allclose(values, np.concatenate(joined), rtol=_WITHIN, atol=_WITHIN * scale, equal_nan=True):
            return False
    return True


def _spec(value: onnx.ValueInfoProto) -> TensorSpec | None:
    """Describe an input of fixed size."""
    kind = value.type.tensor_type
    dims = kind.shape.dim[1:]
    if not all(dim.HasField("dim_value") for dim in dims):
        return None
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return TensorSpec(value.name, str(dtype), tuple(dim.dim_value for dim in dims))
