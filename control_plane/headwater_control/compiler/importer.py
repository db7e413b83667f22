"""From an ONNX file to a bundle: a manifest, a graph, and the first version's parameters, proved to train."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from headwater_wire import digests
from headwater_wire.errors import Malformed
from headwater_wire.ids import Digest, check_model_name
from headwater_wire.manifest import Loss, Manifest, Parameter, Step, TensorSpec, parse
from headwater_wire.messages import Blob
from headwater_wire.tensors import write_tensors, write_vector

from headwater_control.compiler import (
    batch_norm,
    checks,
    constants,
    differentiable,
    lean,
    lora,
    losses,
    proof,
    selection,
    signature,
)
from headwater_control.compiler.autodiff.optimizers import OPTIMIZERS, Options
from headwater_control.compiler.autodiff.optimizers import inputs as scalars
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.training import compile_graphs

_PLAIN = "sgd"


@dataclass(frozen=True, slots=True)
class Imported:
    """Files in the output folder, and what is worth telling."""

    manifest_path: Path
    parameters_path: Path  # safetensors: the first version
    blob_paths: tuple[Path, ...]  # what the manifest names, each under its digest
    elements: int
    notes: tuple[str, ...]
    frozen: tuple[tuple[str, str], ...] = ()  # names, and why


def import_model(
    onnx_path: Path, out_dir: Path, model: str, loss: str, trainable: Sequence[str] = (), output: str = ""
) -> Imported:
    """Make a bundle in `out_dir` and prove that it trains; raise `CompileError`, whose message says what to do.

    `trainable` are selectors (`selection`), or one "lora:RANK"; none: everything that can train. Beside them
    "batch_norm" or "batch_norm:frozen" says what BatchNormalization goes by; neither: what the file says. `output`:
    which one the loss reads. `loss` is spelled as `losses` says.
    """
    imported = make_bundle(onnx_path, out_dir, model, loss, trainable, output)
    return replace(imported, notes=(*imported.notes, *proof.prove(out_dir)))


def make_bundle(
    onnx_path: Path, out_dir: Path, model: str, loss: str, trainable: Sequence[str] = (), output: str = ""
) -> Imported:
    """Do all of `import_model` but the proof. The same file and arguments give the same bytes."""
    try:
        name = check_model_name(model)
    except Malformed as error:
        raise CompileError(str(error)) from error
    proto = checks.read(onnx_path)
    trainable, by_batch = batch_norm.wish(trainable)
    in_training = batch_norm.to_inference(proto.graph)
    inputs = signature.inputs(proto.graph)
    outputs, coupled = signature.outputs(proto, inputs)
    chosen, softmax_note = losses.choose(proto.graph, outputs, loss, output)
    signature.check_names(proto.graph, chosen.output)
    if rank := lora.rank_of(trainable):
        lora.add(proto.graph, rank)
        trainable = (f"*{lora.A}", f"*{lora.B}")
    tensors, left = selection.select(proto.graph, chosen.output, trainable)
    _declare(proto, chosen.output)
    statistics = batch_norm.moving(proto.graph, {tensor.name for tensor in tensors}, in_training, by_batch)
    tensors = [tensor for tensor in tensors if tensor.name not in statistics]
    tensors += [tensor for tensor in proto.graph.initializer if tensor.name in statistics]
    left = [(name, why) for name, why in left if name not in statistics]
    told = (f"{name!r} is frozen: {why}" for name, why in left)
    notes = [note for note in (softmax_note, *told, *_remarks(proto.graph, statistics)) if note]

    parameters, vector = _lay_out(tensors, statistics)
    if not vector.size:
        raise CompileError(f"the model has nothing to train: {', '.join(p.name for p in parameters)} hold no numbers")
    training = {parameter.name for parameter in parameters}
    frozen = [t for t in proto.graph.initializer if t.name not in training and differentiable.is_weightlike(t)]
    folder = _Folder(out_dir)
    graph = folder.keep(proto.SerializeToString(deterministic=True))
    manifest = Manifest(
        model=name,
        graph=graph,
        step=_step(folder, proto, inputs, chosen, parameters, _PLAIN),
        inputs=inputs,
        outputs=outputs,
        loss=chosen,
        coupled=coupled or chosen.kind == "output",
        parameters=parameters,
        frozen=tuple(tensor.name for tensor in frozen),
        frozen_digests=tuple(digest(constants.array(tensor)) for tensor in frozen),
    )
    write_vector(folder.parameters, parameters, vector)
    return replace(folder.imported(manifest, notes), frozen=tuple(left))


def compile_bundle(manifest_path: Path, graph_path: Path, training: str, out_dir: Path) -> Imported:
    """Make a model's bundle for another way of training, such as "adam+clip_norm"; there are no parameters in it."""
    try:
        description = parse(manifest_path.read_bytes())
    except Malformed as error:
        raise CompileError(f"the model's bundle can't be read ({error}): import the model again") from error
    folder = _Folder(out_dir)
    graph = graph_path.read_bytes()
    folder.keep(graph)
    proto = onnx.load_from_string(graph)
    step = _step(folder, proto, description.inputs, description.loss, description.parameters, training)
    return folder.imported(replace(description, step=step), ())


def _step(
    folder: "_Folder",
    proto: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    loss: Loss,
    parameters: Sequence[Parameter],
    training: str,
) -> Step:
    """Differentiate, and keep what a device needs for it."""
    optimizer, *extras = training.split("+")
    options = Options(**dict.fromkeys(extras, True))
    names = [parameter.name for parameter in parameters]
    statistics = [parameter.name for parameter in parameters if parameter.statistic]
    made = compile_graphs(proto, inputs, loss, names, optimizer, options, statistics)
    chosen = OPTIMIZERS[optimizer]
    return Step(
        train=folder.keep(made.train.SerializeToString(deterministic=True)),
        evaluation=folder.keep(made.evaluation.SerializeToString(deterministic=True)),
        accumulate=folder.keep(made.accumulate.SerializeToString(deterministic=True)),
        update=folder.keep(made.update.SerializeToString(deterministic=True)),
        constants=folder.keep_tensors(made.constants),
        optimizer=optimizer,
        slots=chosen.slots,
        scalars=scalars(chosen, options),
    )


class _Folder:
    """Where a bundle is put: manifest.json, parameters.safetensors, and blobs/ by digest."""

    def __init__(self, path: Path) -> None:
        self.manifest, self.parameters = path / "manifest.json", path / "parameters.safetensors"
        self._blobs = path / "blobs"
        self._blobs.mkdir(parents=True, exist_ok=True)

    def keep(self, data: bytes) -> Blob:
        """Put a blob."""
        blob = digests.of_bytes(data)
        (self._blobs / blob.digest).write_bytes(data)
        return blob

    def keep_tensors(self, tensors: Mapping[str, np.ndarray]) -> Blob | None:
        """Put tensors as one blob; none: no blob."""
        if not tensors:
            return None
        unnamed = self._blobs / "tensors"
        write_tensors(unnamed, tensors)
        blob = digests.of_file(unnamed)
        unnamed.rename(self._blobs / blob.digest)
        return blob

    def imported(self, manifest: Manifest, notes: Sequence[str]) -> Imported:
        """Put the manifest, and say what is here."""
        self.manifest.write_bytes(manifest.to_bytes())
        blobs = tuple(sorted(self._blobs.iterdir()))
        return Imported(self.manifest, self.parameters, blobs, manifest.elements, tuple(notes))


def digest(values: np.ndarray) -> Digest:
    """Name a constant's values: SHA-256 of its little-endian bytes."""
    return Digest(hashlib.sha256(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest())


def _lay_out(
    tensors: Sequence[onnx.TensorProto], statistics: Collection[str]
) -> tuple[tuple[Parameter, ...], np.ndarray]:
    parameters, offset = [], 0
    for tensor in tensors:
        parameters.append(Parameter(tensor.name, tuple(tensor.dims), offset, tensor.name in statistics))
        offset += parameters[-1].elements
    vector = np.concatenate([constants.array(tensor).reshape(-1) for tensor in tensors])
    return tuple(parameters), vector.astype(np.float32, copy=False)


def _declare(proto: onnx.ModelProto, name: str) -> None:
    """Write down the type of the tensor that the loss reads, if it is an inner one: the device cuts the graph there."""
    graph = proto.graph
    inferred = onnx.shape_inference.infer_shapes(lean.without_weights(proto))
    known = {value.name: value for value in inferred.graph.value_info}
    del graph.value_info[:]
    if all(value.name != name for value in graph.output):
        if name not in known:
            raise CompileError(f"the type of the tensor {name!r} can't be inferred: make it an output, and name it")
        graph.value_info.append(known[name])


def _remarks(graph: onnx.GraphProto, statistics: Collection[str]) -> list[str]:
    operators = {node.op_type for node in graph.node}
    remarks = []
    if statistics:
        remarks.append(
            "BatchNormalization trains by each batch's statistics; the running ones come back with the delta"
        )
    elif "BatchNormalization" in operators:
        remarks.append(
            "BatchNormalization trains with its running statistics fixed; to train by each batch's: "
            f"--trainable {batch_norm.SELECTOR}"
        )
    if "Dropout" in operators:
        remarks.append("Dropout passes everything on while training, as it does in the exported model")
    if any(tensor.name.startswith("onnx::") for tensor in graph.initializer):
        remarks.append(
            "some parameters have names made up by the exporter (onnx::…): they may change at the next export"
        )
    return remarks
