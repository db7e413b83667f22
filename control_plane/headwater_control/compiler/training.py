"""From a model's graph to the graphs a device trains with, and the constants that these read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from headwater_wire import graphs
from headwater_wire.manifest import Loss, TensorSpec
from onnx import TensorProto, numpy_helper

from headwater_control.compiler import checks, commuting, constants, folding, reference
from headwater_control.compiler.autodiff.optimizers import OPTIMIZERS, Options
from headwater_control.compiler.autodiff.step import IR, OPSET, accumulate, evaluation, train_step, update
from headwater_control.compiler.autodiff.types import Array, Feed, TensorType, measure
from headwater_control.compiler.errors import CompileError

APART_BYTES = 4096  # constants from this size on travel once for all graphs, and are one memory on the device
PLACE = "constants"  # what the graphs call the place of these


@dataclass(frozen=True, slots=True)
class Graphs:
    """What travels: all lack the values of `constants`, which the device puts in."""

    train: onnx.ModelProto
    evaluation: onnx.ModelProto
    accumulate: onnx.ModelProto
    update: onnx.ModelProto
    constants: Mapping[str, Array]


def compile_graphs(
    model: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    loss: Loss,
    parameters: Sequence[str],
    optimizer: str = "sgd",
    options: Options | None = None,
    statistics: Collection[str] = (),
) -> Graphs:
    """Differentiate; raise `CompileError` with the node that can't be, and what to do."""
    if optimizer not in OPTIMIZERS:
        raise CompileError(f"there is no optimizer {optimizer!r}; choose one of {', '.join(OPTIMIZERS)}")
    forward = prepare(model, loss.output, parameters)
    types = settle(forward, inputs, parameters)
    made = Graphs(
        train_step(forward, types, loss, parameters, optimizer, options, statistics),
        evaluation(forward, types, loss, parameters),
        accumulate(forward, types, loss, parameters, statistics),
        update(types, loss, [name for name in parameters if name not in statistics], optimizer, options),
        _apart(forward.graph, parameters),
    )
    for graph in (made.train, made.evaluation, made.accumulate, made.update):
        _check(graph)
        _take_out(graph.graph, made.constants)
    return made


def _apart(graph: onnx.GraphProto, parameters: Sequence[str]) -> dict[str, Array]:
    """Give the constants that are too large to be in each graph; each holds the whole forward pass."""
    frozen = (tensor for tensor in graph.initializer if tensor.name not in parameters)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in frozen}
    return {name: array for name, array in values.items() if array.nbytes >= APART_BYTES}


def _check(made: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(made, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CompileError(f"the training graph is not valid: {' '.join(str(error).split())[:500]}") from error


def prepare(model: onnx.ModelProto, output: str, parameters: Sequence[str]) -> onnx.ModelProto:
    """Bring a graph to the opset we differentiate, cut it at the loss's output, and fold its constants."""
    model = checks.at_opset(model, OPSET)
    forward = onnx.ModelProto()
    forward.CopyFrom(model)
    forward.ir_version = IR
    _cut(forward.graph, output)
    constants.gather(forward)
    folding.fold(forward, parameters)
    commuting.relu_last(forward.graph)
    _tell_statistics(forward.graph)
    return forward


def _tell_statistics(graph: onnx.GraphProto) -> None:
    """Let each LayerNormalization give its mean and 1/σ too: the way back needs them."""
    for node in graph.node:
        if node.op_type == "LayerNormalization" and len(node.output) == 1:
            node.output.extend(f"{graphs.PREFIX}{what}.{node.output[0]}" for what in ("mean", "inverse_deviation"))


def settle(forward: onnx.ModelProto, inputs: Sequence[TensorSpec], parameters: Sequence[str]) -> dict[str, TensorType]:
    """Measure every tensor of a prepared graph, on batches of two and of three; fold what is no more than a shape."""
    names = {value.name for value in forward.graph.input}
    small, large, largest = (
        {name: values for name, values in reference.inputs(inputs, examples).items() if name in names}
        for examples in (2, 3, 13)
    )

    def evaluate(probe: onnx.ModelProto, *feeds: Feed) -> list[dict[str, Array]]:
        return reference.run(probe.SerializeToString(), *(dict(feed) for feed in feeds))

    measured = measure(forward, small, large, evaluate, parameters, largest)
    folding.put(forward.graph, measured.settled)
    _write_shapes(forward.graph, measured.types)
    return measured.types


def _write_shapes(graph: onnx.GraphProto, types: dict[str, TensorType]) -> None:
    """Let a Reshape whose target is computed, from the batch's size as a rule, say "what is left" there instead."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        dims = types[node.output[0]].dims if node.op_type == "Reshape" else ()
        if dims.count(None) == 1 and 0 not in dims and node.input[1] not in known:
            sizes = np.array([-1 if size is None else size for size in dims], np.int64)
            name = f"{graphs.PREFIX}shape.{node.output[0]}"
            graph.initializer.append(numpy_helper.from_array(sizes, name))
            types[name] = TensorType(sizes.dtype, sizes.shape)
            node.input[1] = name


def _cut(graph: onnx.GraphProto, output: str) -> None:
    """Make a tensor the graph's only output, and drop what it does not need."""
    kept, used = constants.needed(graph.node, {output})
    constants.replace(graph.node, kept)
    constants.replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    constants.replace(graph.input, [value for value in graph.input if value.name in used])
    del graph.value_info[:]
    del graph.output[:]
    graph.output.add(name=output)


def _take_out(graph: onnx.GraphProto, apart: Mapping[str, Array]) -> None:
    """Replace constants by a note that they lie elsewhere."""
    for tensor in graph.initializer:
        if tensor.name in apart:
            noted = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            noted.data_location = TensorProto.EXTERNAL
            noted.external_data.add(key="location", value=PLACE)
            noted.external_data.add(key="length", value=str(apart[tensor.name].nbytes))
            tensor.CopyFrom(noted)
