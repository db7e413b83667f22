"""Makes what a box installs of a version: one self-contained model.onnx, and what it must answer."""

from pathlib import Path

import onnx
from headwater_wire import digests, manifest
from headwater_wire.errors import WireError
from headwater_wire.tensors import open_vector, write_tensors
from onnx import numpy_helper

from headwater_control.compiler import lora, reference
from headwater_control.compiler.errors import CompileError

_EXAMPLES = 8


def compose(manifest_path: Path, graph_path: Path, parameters_path: Path, out_dir: Path) -> tuple[Path, Path]:
    """Write (model.onnx, reference.safetensors) for one version into `out_dir`; the same version gives the same model.

    The reference holds "input.NAME" and "output.NAME" of a few foreseeable examples, run on this machine.
    """
    data = graph_path.read_bytes()
    try:
        description = manifest.parse(manifest_path.read_bytes())
        with open_vector(parameters_path, description) as floats:
            vector = floats.load()
    except WireError as error:
        raise CompileError(f"the version can't be composed: {error}") from error
    if digests.of_bytes(data) != description.graph:
        raise CompileError(f"{graph_path.name} is not the graph of model {description.model!r}: import the model again")
    model = onnx.load_from_string(data)
    del model.graph.value_info[:]
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for parameter in description.parameters:
        values = vector[parameter.offset : parameter.offset + parameter.elements].reshape(parameter.shape)
        tensors[parameter.name].CopyFrom(numpy_helper.from_array(values, parameter.name))
    lora.fold(model)
    out_dir.mkdir(parents=True, exist_ok=True)
    model_path, reference_path = out_dir / "model.onnx", out_dir / "reference.safetensors"
    composed = model.SerializeToString(deterministic=True)
    model_path.write_bytes(composed)
    feed = reference.inputs(description.inputs, _EXAMPLES)
    (answers,) = reference.run(composed, feed)
    write_tensors(
        reference_path,
        {f"input.{name}": value for name, value in feed.items()}
        | {f"output.{name}": value for name, value in answers.items()},
    )
    return model_path, reference_path
