"""Takes in parameters that were trained elsewhere: by name, and only if they fit the model."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from headwater_wire import manifest
from headwater_wire.errors import Malformed
from headwater_wire.manifest import Manifest
from headwater_wire.tensors import read_tensors, write_vector
from numpy.typing import NDArray

from headwater_control.compiler import checks, constants, shared
from headwater_control.compiler.archive import read_npz
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.importer import digest

_WIDEST_BYTES = 8
_ZIP = b"PK\x03\x04"
_UNREADABLE = (  # what zipfile, numpy and our own reader say of bytes that are no archive, or of no kind they know
    OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, Malformed
)  # fmt: skip


def import_version(manifest_path: Path, source_path: Path, out_path: Path) -> None:
    """Write a version's file from a safetensors, npz or ONNX file that holds every parameter under its name.

    Other names are passed over, but a frozen parameter that is there must have the values it has in the model.
    Raises `CompileError` naming the first parameter that does not fit.
    """
    description = manifest.parse(manifest_path.read_bytes())
    found, names = _read(source_path, _sizes(description))
    missing = [parameter.name for parameter in description.parameters if parameter.name not in found]
    if missing:
        raise CompileError(
            f"{len(missing)} of {len(description.parameters)} parameters are missing in the file, such as "
            f"{', '.join(missing[:6])}; it holds {', '.join(names[:6]) or 'nothing'}: use the model's names"
        )
    vector = np.empty(description.elements, np.float32)
    for parameter in description.parameters:
        values = found[parameter.name]
        if values.shape != parameter.shape:
            raise CompileError(f"the parameter {parameter.name!r} is {values.shape}; the model has {parameter.shape}")
        if values.dtype.kind != "f":
            raise CompileError(f"the parameter {parameter.name!r} is {values.dtype}; the model's are float32")
        with np.errstate(over="ignore"):  # what overflows is found not finite
            vector[parameter.offset : parameter.offset + parameter.elements] = values.reshape(-1)
        if not np.isfinite(vector[parameter.offset : parameter.offset + parameter.elements]).all():
            raise CompileError(f"the parameter {parameter.name!r} holds values that are not finite")
    _check_frozen(description, found)
    write_vector(out_path, description.parameters, vector)


def _check_frozen(description: Manifest, found: dict[str, NDArray[Any]]) -> None:
    for name, wanted in zip(description.frozen, description.frozen_digests, strict=True):
        if name in found and digest(found[name]) != wanted:
            raise CompileError(
                f"{name!r} is frozen in model {description.model!r}, but has changed: import the file as a new model, "
                "or train it again with that parameter fixed"
            )


def _sizes(description: Manifest) -> dict[str, int]:
    """Say how many bytes an array of each known name can have: float64 at most, or what lies in the graph."""
    trained = {parameter.name: parameter.elements * _WIDEST_BYTES for parameter in description.parameters}
    return dict.fromkeys(description.frozen, description.graph.size) | trained


def _read(path: Path, sizes: dict[str, int]) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Read tensors by name, and all names. The content tells the format, since an upload has lost its file name."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
            if start.startswith(_ZIP):
                file.seek(0)
                return read_npz(file, sizes)
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
            tensors = read_tensors(path)
            return tensors, tuple(tensors)
    except _UNREADABLE as error:
        why = str(error).replace(path.name, "it")  # that name is a temporary one, and tells nobody anything
        raise CompileError(f"the file can't be read: {why}") from error
    try:
        model = checks.parse(path)
    except CompileError as error:
        raise CompileError(f"the file holds no parameters (safetensors, npz or ONNX): {error}") from error
    shared.separate(model)
    constants.gather(model)
    arrays = {tensor.name: constants.array(tensor) for tensor in model.graph.initializer}
    return arrays, tuple(arrays)
