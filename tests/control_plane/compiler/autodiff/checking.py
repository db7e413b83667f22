"""Holds a rule against central differences, in float64."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from headwater_control.compiler.autodiff.backward import backward
from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.types import measure
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

OPSET, IR = 21, 10
STEP = 1e-6
RELATIVE, ABSOLUTE = 1e-5, 1e-7


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> onnx.NodeProto:
    """Make a node that has a name."""
    return helper.make_node(kind, list(inputs), list(outputs), name=f"{kind} to {outputs[0]}", **attributes)


def check_gradients(
    nodes: onnx.NodeProto | Sequence[onnx.NodeProto],
    inputs: Arrays,
    *,
    constants: Arrays | None = None,
    wrt: Sequence[str] | None = None,
    batch: Mapping[str, int] | None = None,
    outputs: Sequence[str] = ("y",),
    relative: float = RELATIVE,
    absolute: float = ABSOLUTE,
    step: float = STEP,
) -> None:
    """Compare the emitted gradients of Σ w·y, with random w for each output, with central differences.

    `inputs` are float64 (or whole numbers, which get no gradient); `batch` names the axis of an input that grows with
    the batch; `wrt`: all float inputs by default. `outputs` are those from which something flows back. A larger `step`
    and tolerance are for operators that both runtimes compute in float32.
    """
    nodes = [nodes] if isinstance(nodes, onnx.NodeProto) else list(nodes)
    model = _model(nodes, inputs, constants or {}, outputs)
    wrt = [name for name, values in inputs.items() if values.dtype.kind == "f"] if wrt is None else list(wrt)
    forward = evaluator(model)
    answers = forward(inputs)
    random = np.random.default_rng(1)
    weights = {name: random.standard_normal(answers[name].shape) for name in outputs}
    gradients = gradient_model(model, inputs, weights, wrt, batch or {})
    found = evaluator(gradients)({**inputs, **{f"w.{name}": weights[name] for name in outputs}})
    for name in wrt:
        expected = _central(forward, inputs, weights, name, step)
        got = found.get(f"d.{name}", np.zeros_like(expected))
        assert got.shape == expected.shape, f"the gradient of {name} is {got.shape}, not {expected.shape}"
        np.testing.assert_allclose(got, expected, rtol=relative, atol=absolute, err_msg=f"the gradient of {name}")


def gradient_model(
    model: onnx.ModelProto, inputs: Arrays, weights: Arrays, wrt: Sequence[str], batch: Mapping[str, int]
) -> onnx.ModelProto:
    """Make the model that gives "d.NAME" of inputs and weights, of standard operators only."""
    larger = {
        name: np.concatenate([values, values.take([0], batch[name])], batch[name]) if name in batch else values
        for name, values in inputs.items()
    }
    types = measure(model, inputs, larger, lambda probe, *feeds: [evaluator(probe)(feed) for feed in feeds]).types
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    g = Emitter(types)
    seeds = {name: f"w.{name}" for name in weights}
    names = backward(model.graph, constants, seeds, wrt, g)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    graph.node.extend(g.nodes)
    graph.initializer.extend(g.initializers)
    graph.input.extend(_value(f"w.{name}", values) for name, values in weights.items())
    for name, gradient in names.items():
        graph.node.append(helper.make_node("Identity", [gradient], [f"d.{name}"]))
    del graph.output[:]
    graph.output.extend(_value(f"d.{name}", inputs[name], fixed=False) for name in names)
    onnx.checker.check_model(made, full_check=True)
    return made


def evaluator(model: onnx.ModelProto) -> Callable[[Arrays], dict[str, Array]]:
    """Run a model by onnxruntime, or by onnx's own reference where the runtime has no float64 kernel."""
    names = [output.name for output in model.graph.output]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    needed = {value.name for value in model.graph.input}
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if "NOT_IMPLEMENTED" not in str(error) and "not implemented" not in str(error).lower():
            raise
        session = ReferenceEvaluator(model)

    def run(feed: Arrays) -> dict[str, Array]:
        answers = session.run(names, {name: np.asarray(values) for name, values in feed.items() if name in needed})
        return dict(zip(names, (np.asarray(answer) for answer in answers), strict=True))

    return run


def _model(
    nodes: Sequence[onnx.NodeProto], inputs: Arrays, constants: Arrays, outputs: Sequence[str]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [_value(name, values, fixed=False) for name, values in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    return onnx.shape_inference.infer_shapes(model)


def _value(name: str, values: Array, *, fixed: bool = True) -> onnx.ValueInfoProto:
    shape = list(values.shape) if fixed else [None] * values.ndim
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), shape)


def _central(
    forward: Callable[[Arrays], dict[str, Array]], inputs: Arrays, weights: Arrays, name: str, step: float
) -> npt.NDArray[np.float64]:
    """(L(x + h) − L(x − h)) / 2h, for each number of an input."""

    def loss(values: Array) -> float:
        answers = forward({**inputs, name: values})
        return sum(float((weights[output] * answers[output]).sum()) for output in weights)

    base = inputs[name]
    gradient = np.zeros(base.shape)
    for place in np.ndindex(base.shape):
        moved = [base.copy(), base.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        gradient[place] = (loss(moved[0]) - loss(moved[1])) / (2 * step)
    return gradient
