"""From an ONNX file to a bundle: a manifest, a graph, and the first version's parameters, proved to train."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import onnx
from headwater_wire import digests
from headwater_wire.errors import Malformed
from headwater_wire.ids import Digest, check_model
from headwater_wire.manifest import Loss, Manifest, Parameter
from headwater_wire.tensors import write_vector

from headwater_control.compiler import checks, constants, differentiable, losses, proof, signature
from headwater_control.compiler.errors import CompileError


@dataclass(frozen=True, slots=True)
class Imported:
    """Files in the output folder, and what is worth telling."""

    manifest_path: Path
    graph_path: Path
    parameters_path: Path  # safetensors: the first version
    elements: int
    notes: tuple[str, ...]


def import_model(
    onnx_path: Path, out_dir: Path, model: str, loss: str, trainable: Sequence[str] = (), output: str = ""
) -> Imported:
    """Make a bundle in `out_dir` and prove that it trains; raise `CompileError`, whose message says what to do.

    `trainable` are name patterns (fnmatch); none: everything that can train. `output`: which one the loss reads.
    """
    imported = make_bundle(onnx_path, out_dir, model, loss, trainable, output)
    note = proof.prove(out_dir)
    return replace(imported, notes=(*imported.notes, note)) if note else imported


def make_bundle(
    onnx_path: Path, out_dir: Path, model: str, loss: str, trainable: Sequence[str] = (), output: str = ""
) -> Imported:
    """Do all of `import_model` but the proof. The same file and arguments give the same bytes."""
    try:
        name = check_model(model)
    except Malformed as error:
        raise CompileError(str(error)) from error
    proto = checks.read(onnx_path)
    constants.gather(proto)
    inputs = signature.inputs(proto.graph)
    outputs = signature.outputs(proto, inputs)
    chosen, softmax_note = losses.choose(proto.graph, outputs, loss, output)
    tensors, notes = _select(proto.graph, chosen, trainable)
    _declare(proto, chosen.output)
    notes = [note for note in (softmax_note, *notes, *_remarks(proto.graph)) if note]

    parameters, vector = _lay_out(tensors)
    graph_bytes = proto.SerializeToString(deterministic=True)
    training = {parameter.name for parameter in parameters}
    frozen = [t for t in proto.graph.initializer if t.name not in training and differentiable.is_weightlike(t)]
    manifest = Manifest(
        model=name,
        graph=digests.of_bytes(graph_bytes),
        inputs=inputs,
        outputs=outputs,
        loss=chosen,
        parameters=parameters,
        frozen=tuple(tensor.name for tensor in frozen),
        frozen_digests=tuple(digest(constants.array(tensor)) for tensor in frozen),
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    imported = Imported(
        out_dir / "manifest.json", out_dir / "graph.onnx", out_dir / "parameters.safetensors", len(vector), tuple(notes)
    )
    imported.manifest_path.write_bytes(manifest.to_bytes())
    imported.graph_path.write_bytes(graph_bytes)
    write_vector(imported.parameters_path, parameters, vector)
    return imported


def digest(values: np.ndarray) -> Digest:
    """Name a constant's values: SHA-256 of its little-endian bytes."""
    return Digest(hashlib.sha256(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest())


def _select(graph: onnx.GraphProto, loss: Loss, patterns: Sequence[str]) -> tuple[list[onnx.TensorProto], list[str]]:
    """Choose what trains, in the graph's order, and note what doesn't and why."""
    flowing = differentiable.reached(graph, loss.output)
    obstacles = {tensor.name: differentiable.obstacle(graph, tensor, flowing) for tensor in graph.initializer}
    able = [tensor for tensor in graph.initializer if not obstacles[tensor.name]]
    if not able:
        raise CompileError(
            f"the model has nothing to train: no float32 constant reaches {loss.output!r} through derivatives"
        )
    for pattern in patterns:
        if not any(fnmatchcase(tensor.name, pattern) for tensor in able):
            raise CompileError(_unmatched(pattern, able, obstacles))
    if patterns:
        chosen = [tensor for tensor in able if any(fnmatchcase(tensor.name, pattern) for pattern in patterns)]
    else:
        chosen = [tensor for tensor in able if tensor.dims] or able
    names = {tensor.name for tensor in chosen}
    notes = []
    for tensor in graph.initializer:
        if tensor.name in names or not differentiable.is_weightlike(tensor):
            continue
        why = obstacles[tensor.name] or ("no pattern names it" if patterns else "a single number; name it to train it")
        notes.append(f"{tensor.name!r} is frozen: {why}")
    return chosen, notes


def _unmatched(pattern: str, able: Sequence[onnx.TensorProto], obstacles: dict[str, str]) -> str:
    for name, why in obstacles.items():
        if why and fnmatchcase(name, pattern):
            return f"{name!r}, which {pattern!r} names, can't train: {why}"
    told = ", ".join(tensor.name for tensor in able[:12]) + (" …" if len(able) > 12 else "")
    return f"no parameter's name matches {pattern!r}; those that can train are {told}"


def _lay_out(tensors: Sequence[onnx.TensorProto]) -> tuple[tuple[Parameter, ...], np.ndarray]:
    parameters, offset = [], 0
    for tensor in tensors:
        parameters.append(Parameter(tensor.name, tuple(tensor.dims), offset))
        offset += parameters[-1].elements
    vector = np.concatenate([constants.array(tensor).reshape(-1) for tensor in tensors])
    return tuple(parameters), vector.astype(np.float32, copy=False)


def _declare(proto: onnx.ModelProto, name: str) -> None:
    """Write down the type of the tensor that the loss reads, if it is an inner one: the device cuts the graph there."""
    graph = proto.graph
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(proto).graph.value_info}
    del graph.value_info[:]
    if all(value.name != name for value in graph.output):
        if name not in known:
            raise CompileError(f"the type of the tensor {name!r} can't be inferred: make it an output, and name it")
        graph.value_info.append(known[name])


def _remarks(graph: onnx.GraphProto) -> list[str]:
    operators = {node.op_type for node in graph.node}
    remarks = []
    if "BatchNormalization" in operators:
        remarks.append("BatchNormalization trains with its running statistics fixed")
    if "Dropout" in operators:
        remarks.append("Dropout passes everything on while training, as it does in the exported model")
    if any(tensor.name.startswith("onnx::") for tensor in graph.initializer):
        remarks.append(
            "some parameters have names made up by the exporter (onnx::…): they may change at the next export"
        )
    return remarks
