"""Tensors in safetensors files: a version's, whose data section is the flat float32 vector, and small mixed ones.

The format: https://huggingface.co/docs/safetensors. Read strictly: no holes, no overlaps, no byte too many or too few.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from headwater_wire.errors import Malformed
from headwater_wire.floats import F32, FloatFile
from headwater_wire.manifest import MAX_AXES, Manifest, Parameter

MAX_HEADER_BYTES = 16 * 1024 * 1024  # some 100,000 tensors; a length read from a damaged file must not be allocated
_ALIGNMENT = 8
_METADATA = "__metadata__"
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
    "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(spelling): name for name, spelling in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file: `begin` and `end` in bytes of the data section."""

    name: str
    dtype: str  # as safetensors spells it: "F32"
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A file's header: its tensors in the order of the data, and where the data begins."""

    header: bytes  # as it stands in the file, with its length
    entries: tuple[Entry, ...]

    @property
    def data_at(self) -> int:
        """Tell the byte where the data section begins."""
        return len(self.header)


def header(entries: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """Make the header (with its length, padded to 8 bytes) of tensors (name, "F32", shape) that follow each other."""
    tree: dict[str, Any] = {}
    place = 0
    for name, dtype, shape in entries:
        if name == _METADATA or name in tree:
            raise ValueError(f"a file can't hold another tensor {name!r}: rename it")
        end = place + prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        tree[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"{len(tree)} tensors need a header of {len(text)} bytes; {MAX_HEADER_BYTES} is the limit")
    return len(text).to_bytes(8, "little") + text


def read_layout(path: Path) -> Layout:
    """Read and check a file's header against the file's size; raise `Malformed` naming what is wrong."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return _read_layout(file, size, path.name)


def parameters_of(layout: Layout) -> tuple[Parameter, ...]:
    """Read a version's layout as the parameters of a flat vector; raise `Malformed` if one is not float32."""
    for entry in layout.entries:
        if entry.dtype != "F32":
            raise Malformed(f"the tensor {entry.name!r} is {entry.dtype}; a version's parameters are all F32")
    return tuple(Parameter(entry.name, entry.shape, entry.begin // F32.itemsize) for entry in layout.entries)


def check_parameters(found: Sequence[Parameter], manifest: Manifest) -> None:
    """Raise `Malformed` with the first difference between a version's parameters and what its model wants."""
    for got, wanted in zip(found, manifest.parameters, strict=False):
        if got.name != wanted.name:
            raise Malformed(f"the parameter {got.name!r} stands where model {manifest.model} has {wanted.name!r}")
        if got.shape != wanted.shape:
            raise Malformed(f"the parameter {got.name!r} is {got.shape}; model {manifest.model} wants {wanted.shape}")
    if len(found) != len(manifest.parameters):
        raise Malformed(f"{len(found)} parameters; model {manifest.model} has {len(manifest.parameters)}")


def write_vector(path: Path, parameters: Sequence[Parameter], vector: NDArray[np.float32]) -> None:
    """Write a version: `vector` holds the parameters one after the other, in their order. Not synced."""
    if vector.shape != (sum(parameter.elements for parameter in parameters),):
        raise ValueError(f"a vector of shape {vector.shape} for {sum(p.elements for p in parameters)} numbers")
    with path.open("wb") as file:
        file.write(header((p.name, "F32", p.shape) for p in parameters))
        file.write(np.ascontiguousarray(vector, F32).data)


def open_vector(path: Path, manifest: Manifest | None = None) -> FloatFile:
    """Open a version's flat vector; raise `Malformed` if it is none, or not one of the manifest's model."""
    layout = read_layout(path)
    parameters = parameters_of(layout)
    if manifest is not None:
        check_parameters(parameters, manifest)
    return FloatFile(path, layout.data_at, sum(parameter.elements for parameter in parameters))


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write tensors of any numeric dtypes, in the mapping's order. Not synced."""
    arrays = {name: np.asarray(array) for name, array in tensors.items()}
    for name, array in arrays.items():
        if array.dtype.newbyteorder("<") not in _NAMES:
            raise ValueError(f"the tensor {name!r} is {array.dtype}; a file can hold {', '.join(map(str, _NAMES))}")
    with path.open("wb") as file:
        file.write(header((name, _NAMES[a.dtype.newbyteorder("<")], a.shape) for name, a in arrays.items()))
        for array in arrays.values():
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read all tensors of a file; raise `Malformed` naming what is wrong with it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        layout = _read_layout(file, size, path.name)
        return {
            entry.name: np.frombuffer(bytearray(file.read(entry.end - entry.begin)), _DTYPES[entry.dtype]).reshape(
                entry.shape
            )
            for entry in layout.entries
        }


def _read_layout(file: BinaryIO, size: int, what: str) -> Layout:
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or 8 + length > size:
        raise Malformed(f"{what} is no safetensors file, or was cut short: {size} bytes")
    if length > MAX_HEADER_BYTES:
        raise Malformed(f"{what} claims a header of {length} bytes; {MAX_HEADER_BYTES} is the limit")
    text = file.read(length)
    try:
        tree = json.loads(text, object_pairs_hook=_unique)
        tree.pop(_METADATA, None)
        entries = sorted(
            (_entry(name, item) for name, item in tree.items()), key=lambda entry: (entry.begin, entry.end)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"{what} has no readable safetensors header: {error!r:.200}") from error
    place = 0
    for entry in entries:
        if entry.begin != place:
            raise Malformed(f"{what}: the tensor {entry.name!r} begins at {entry.begin}, not at {place}")
        place = entry.end
    if 8 + length + place != size:
        raise Malformed(f"{what} has {size} bytes; its header speaks of {8 + length + place}")
    return Layout(prefix + text, tuple(entries))


def _entry(name: str, item: dict[str, Any]) -> Entry:
    shape, (begin, end), dtype = item["shape"], item["data_offsets"], item["dtype"]
    if len(shape) > MAX_AXES or not all(type(n) is int and 0 <= n < 1 << 63 for n in (*shape, begin, end)):
        raise ValueError(f"the tensor {name!r} has shape {shape} at {begin} to {end}")
    if dtype not in _DTYPES:
        raise ValueError(f"the tensor {name!r} is {dtype!r}; known are {', '.join(_DTYPES)}")
    if end - begin != prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
        raise ValueError(f"the tensor {name!r}, {dtype} {shape}, can't have {end - begin} bytes")
    return Entry(name, dtype, tuple(shape), begin, end)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a name stands twice")
    return tree
