"""What each loss asks of the output it reads, and of the label it compares it with.

A loss is spelled KIND or KIND:OPTION=VALUE,…: "cross_entropy:class_axis=-1,smoothing=0.1", "huber:delta=0.5".
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np
import onnx
from headwater_wire.manifest import LOSSES, Loss, TensorSpec
from onnx import helper, numpy_helper

from headwater_control.compiler.errors import CompileError


def _whole(text: str) -> int:
    """Read a whole number that a label can be."""
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(text)
    return number


# The last operator of an inference model that a loss of this kind contains itself.
_REPEATED = {"cross_entropy": ("Softmax", "LogSoftmax"), "bce_with_logits": ("Sigmoid",)}
_OPTIONS: Mapping[str, Mapping[str, Callable[[str], Any]]] = {
    "cross_entropy": {
        "class_axis": _whole,
        "smoothing": float,
        "ignore": _whole,
        "weights": lambda text: tuple(float(weight) for weight in text.split("/")),
    },
    "huber": {"delta": float},
}


def choose(graph: onnx.GraphProto, outputs: tuple[TensorSpec, ...], wanted: str, name: str) -> tuple[Loss, str]:
    """Fix the loss: which tensor it reads and what the label looks like, with a note if the two differ."""
    kind, options = _read(wanted)
    scalars = {value.name for value in graph.output} - {spec.name for spec in outputs}
    if kind == "output" and scalars and (name in scalars or (not name and not outputs and len(scalars) == 1)):
        return Loss(kind, _for_each_example(graph, name or scalars.pop()), None), ""
    output = _output(outputs, name)
    if output.dtype != "float32":
        raise CompileError(f"the output {output.name!r} is {output.dtype}; a loss reads float32: export the scores")
    if kind == "output":
        return Loss(kind, output.name, None), ""
    axis = options.get("class_axis", 1)
    read, note = _before_repeated(graph, output, kind, axis)
    if kind != "cross_entropy":
        return Loss(kind, read, TensorSpec("label", "float32", output.shape), **options), note
    place = axis - 1 if axis > 0 else len(output.shape) + axis
    if not 0 <= place < len(output.shape) or output.shape[place] < 2:
        raise CompileError(
            f"cross_entropy needs one score per class; the output {output.name!r} is [batch, "
            f"{', '.join(map(str, output.shape))}], and its axis {axis} holds no classes: choose another output "
            "(--output), axis (cross_entropy:class_axis=-1) or loss"
        )
    classes = output.shape[place]
    if len(options.get("weights", ())) not in (0, classes):
        raise CompileError(f"there are {len(options['weights'])} class weights (1/2/…), but {classes} classes")
    label = TensorSpec("label", "int64", (*output.shape[:place], *output.shape[place + 1 :]))
    return Loss(kind, read, label, classes, **options), note


def _for_each_example(graph: onnx.GraphProto, scalar: str) -> str:
    """Repeat a scalar for each example of the batch: the mean of that is the scalar."""
    first, axis, made = graph.input[0].name, f"{scalar}.axis", f"{scalar}.of_each_example"
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), axis))
    graph.node.extend(
        (
            helper.make_node("Unsqueeze", [scalar, axis], [f"{scalar}.vector"], name=f"{scalar}.vector"),
            helper.make_node("Shape", [first], [f"{scalar}.shape"], name=f"{scalar}.shape"),
            helper.make_node("Gather", [f"{scalar}.shape", axis], [f"{scalar}.batch"], name=f"{scalar}.batch"),
            helper.make_node("Expand", [f"{scalar}.vector", f"{scalar}.batch"], [made], name=made),
        )
    )
    return made


def _read(wanted: str) -> tuple[str, dict[str, Any]]:
    """Take a loss's spelling apart."""
    kind, _, rest = wanted.partition(":")
    if kind not in LOSSES:
        raise CompileError(f"there is no loss {kind[:80]!r}; choose one of {', '.join(LOSSES)}")
    known, options = _OPTIONS.get(kind, {}), {}
    for item in filter(None, rest.split(",")):
        name, _, value = item.partition("=")
        if name not in known:
            told = f"it has {', '.join(known)}" if known else "it has none"
            raise CompileError(f"the loss {kind} has no option {name[:80]!r} ({told})")
        try:
            options[name] = known[name](value)
        except ValueError as error:
            raise CompileError(f"the loss {kind}: {name} is {value[:80]!r}, which is no number") from error
    _check(kind, options)
    return kind, options


def _check(kind: str, options: Mapping[str, Any]) -> None:
    numbers = (*options.get("weights", ()), options.get("smoothing", 0.0), options.get("delta", 1.0))
    if not all(isfinite(number) for number in numbers):
        raise CompileError(f"the loss {kind} takes finite numbers only")
    if not 0 <= options.get("smoothing", 0.0) < 1:
        raise CompileError("cross_entropy: smoothing is a share, at least 0 and below 1")
    if any(weight < 0 for weight in options.get("weights", ())):
        raise CompileError("cross_entropy: a class weight is negative")
    if options.get("delta", 1.0) <= 0:
        raise CompileError("huber: delta must be above 0")


def _output(outputs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    named = {spec.name: spec for spec in outputs}
    if not name and len(outputs) == 1:
        return outputs[0]
    if name in named:
        return named[name]
    told = ", ".join(named)
    if name:
        raise CompileError(f"the model has no output {name!r}; it has {told}")
    raise CompileError(f"the model has several outputs ({told}): say by --output which one the loss reads")


def _before_repeated(graph: onnx.GraphProto, output: TensorSpec, kind: str, class_axis: int) -> tuple[str, str]:
    makers = {made: node for node in graph.node for made in node.output}
    node = makers.get(output.name)
    while node is not None and node.op_type == "Identity":
        node = makers.get(node.input[0])
    if node is None or node.op_type not in _REPEATED.get(kind, ()):
        return output.name, ""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    rank = len(output.shape) + 1
    if node.op_type != "Sigmoid" and axis % rank != class_axis % rank:
        return output.name, ""
    return node.input[0], (
        f"the last node, {node.name!r} ({node.op_type}), is left out while training, since {kind} contains it; "
        "the exported model keeps it"
    )
