"""Puts a training step together: forward, loss, backward, update; and the graph that only scores."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import onnx
from headwater_wire import graphs
from headwater_wire.graphs import ABSOLUTE_ERROR, CORRECT, LABEL, LOSS, WEIGHT
from headwater_wire.manifest import Loss
from onnx import helper, numpy_helper

from headwater_control.compiler.autodiff import optimizers, running
from headwater_control.compiler.autodiff.backward import backward
from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.losses import Objective, label_type, objective
from headwater_control.compiler.autodiff.optimizers import OPTIMIZERS, Optimizer, Options
from headwater_control.compiler.autodiff.types import Dims, TensorType
from headwater_control.compiler.constants import needed
from headwater_control.compiler.errors import CompileError

OPSET, IR = 21, 10  # what onnxruntime 1.19, the oldest we train on, reads
Types = Mapping[str, TensorType]


def train_step(
    forward: onnx.ModelProto,
    types: Types,
    loss: Loss,
    parameters: Sequence[str],
    optimizer: str = "sgd",
    options: Options | None = None,
    statistics: Collection[str] = (),
) -> onnx.ModelProto:
    """Make the graph of one step on a batch.

    Inputs: the model's, `label`, each parameter by its name, each state (`graphs.state`), with FedProx each
    `graphs.beginning`, and the scalars of `optimizers.inputs`. Outputs: `graphs.new` of parameters and states,
    and the scalar LOSS, as it was before the step. Those of the parameters that are `statistics` are not descended, and
    have no state: they follow what BatchNormalization sees. Raises `CompileError` for what can't be differentiated.
    """
    chosen, wanted = OPTIMIZERS[optimizer], options or Options()
    plain = forward
    forward, types = running.by_batch(plain, types, statistics)
    g = _emitter(types, loss)
    goal = objective(loss, g, optimizers.seed_scale(chosen, g))
    descending = [name for name in parameters if name not in statistics]
    optimizers.update(chosen, wanted, g, _gradients(forward, loss, descending, goal.slope, g))
    running.follow(g, plain, statistics)
    g.rename(goal.loss, LOSS)
    moving = {name: types[name] for name in parameters} | _states(chosen, types, descending)
    shapes = moving | (_beginnings(types, descending) if wanted.proximal else {})
    outputs = {graphs.new(name): kind for name, kind in moving.items()}
    scalars = optimizers.inputs(chosen, wanted)
    return _assemble(forward, g, types, loss, shapes, scalars, outputs | {LOSS: _SCALAR})


def accumulate(
    forward: onnx.ModelProto, types: Types, loss: Loss, parameters: Sequence[str], statistics: Collection[str] = ()
) -> onnx.ModelProto:
    """Make the graph that adds a piece's gradients to `graphs.total` of each parameter, in little memory.

    Inputs: the model's, `label`, each parameter, each total. Outputs: `graphs.new` of the totals (and of `statistics`),
    and the scalars LOSS and WEIGHT.
    """
    plain = forward
    forward, types = running.by_batch(plain, types, statistics)
    g = _emitter(types, loss, small_memory=True)
    goal = objective(loss, g, g.constant(np.array(1, np.float32)))
    descending = [name for name in parameters if name not in statistics]
    gradients = _gradients(forward, loss, descending, g.mul(goal.slope, goal.weight), g)
    totals = {graphs.total(name): types[name] for name in descending}
    for name, gradient in gradients.items():
        g.rename(g.add(graphs.total(name), gradient), graphs.new(graphs.total(name)))
    running.follow(g, plain, statistics)
    g.rename(goal.loss, LOSS)
    g.rename(goal.weight, WEIGHT)
    shapes = {name: types[name] for name in parameters} | totals
    moving = totals | {name: types[name] for name in statistics}
    outputs = {graphs.new(name): kind for name, kind in moving.items()} | {LOSS: _SCALAR, WEIGHT: _SCALAR}
    return _assemble(forward, g, types, loss, shapes, (), outputs)


def update(
    types: Types, loss: Loss, parameters: Sequence[str], optimizer: str = "sgd", options: Options | None = None
) -> onnx.ModelProto:
    """Make the graph that steps by what was accumulated, `train_step`'s but for `graphs.total` and WEIGHT as inputs."""
    chosen, wanted = OPTIMIZERS[optimizer], options or Options()
    g = _emitter(types, loss)
    factor = g.div(optimizers.seed_scale(chosen, g), WEIGHT)
    optimizers.update(chosen, wanted, g, {name: g.mul(graphs.total(name), factor) for name in parameters})
    moving = {name: types[name] for name in parameters} | _states(chosen, types, parameters)
    shapes = moving | {graphs.total(name): types[name] for name in parameters}
    shapes |= _beginnings(types, parameters) if wanted.proximal else {}
    outputs = {graphs.new(name): kind for name, kind in moving.items()}
    return _assemble(onnx.ModelProto(), g, types, loss, shapes, (*optimizers.inputs(chosen, wanted), WEIGHT), outputs)


def evaluation(forward: onnx.ModelProto, types: Types, loss: Loss, parameters: Sequence[str]) -> onnx.ModelProto:
    """Make the graph that scores a batch.

    Inputs: the model's, `label` and each parameter. Outputs, scalars: LOSS (the mean) and its WEIGHT, and CORRECT and
    ABSOLUTE_ERROR (summed over the examples) where the loss has them.
    """
    g = _emitter(types, loss)
    goal = objective(loss, g, g.constant(np.array(1, np.float32)))
    outputs = {name: _SCALAR for found, name in _metrics(goal) if found}
    for found, name in _metrics(goal):
        if found:
            g.rename(found, name)
    return _assemble(forward, g, types, loss, {name: types[name] for name in parameters}, (), outputs)


_SCALAR = TensorType(np.dtype(np.float32), ())


def _emitter(types: Types, loss: Loss, *, small_memory: bool = False) -> Emitter:
    label = label_type(loss, types[loss.output])
    return Emitter({**types, LABEL: label} if label else types, small_memory=small_memory)


def _gradients(
    forward: onnx.ModelProto, loss: Loss, parameters: Sequence[str], slope: str, g: Emitter
) -> dict[str, str]:
    constants = {t.name: numpy_helper.to_array(t) for t in forward.graph.initializer if t.name not in parameters}
    gradients = backward(forward.graph, constants, {loss.output: slope}, parameters, g)
    if missing := [name for name in parameters if name not in gradients]:
        raise CompileError(f"no derivative flows from {', '.join(missing)} to the loss")
    return {name: gradients[name] for name in parameters}


def _states(optimizer: Optimizer, types: Types, parameters: Sequence[str]) -> dict[str, TensorType]:
    return {graphs.state(slot, name): types[name] for name in parameters for slot in optimizer.slots}


def _beginnings(types: Types, parameters: Sequence[str]) -> dict[str, TensorType]:
    return {graphs.beginning(name): types[name] for name in parameters}


def _metrics(goal: Objective) -> tuple[tuple[str, str], ...]:
    return (
        (goal.loss, LOSS),
        (goal.weight, WEIGHT),
        (goal.correct, CORRECT),
        (goal.absolute_error, ABSOLUTE_ERROR),
    )


def _assemble(
    forward: onnx.ModelProto,
    g: Emitter,
    types: Types,
    loss: Loss,
    tensors: Types,
    scalars: Iterable[str],
    outputs: Types,
) -> onnx.ModelProto:
    """Make a model of the forward nodes and the emitted ones, without what no output depends on."""
    nodes, used = needed([*forward.graph.node, *g.renamed()], set(outputs))
    made = onnx.ModelProto(ir_version=IR, producer_name="headwater")
    made.opset_import.append(helper.make_opsetid("", OPSET))
    graph = made.graph
    graph.name = "graph"
    graph.node.extend(nodes)
    constant = used - set(tensors)
    graph.initializer.extend(
        tensor for tensor in (*forward.graph.initializer, *g.initializers) if tensor.name in constant
    )
    graph.input.extend(value for value in forward.graph.input if value.name in used)
    if LABEL in used:
        label = label_type(loss, types[loss.output])
        assert label is not None
        graph.input.append(_value(LABEL, label))
    graph.input.extend(_value(name, kind) for name, kind in tensors.items())
    graph.input.extend(_value(name, _SCALAR) for name in scalars)
    graph.output.extend(_value(name, kind) for name, kind in outputs.items())
    return made


def _value(name: str, kind: TensorType) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind.dtype), _named(kind.dims))


def _named(dims: Dims) -> list[int | str]:
    return ["batch" if size is None else size for size in dims]
