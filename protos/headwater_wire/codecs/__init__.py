"""Delta codecs: how a flat float32 vector becomes a file, and back."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headwater_wire.codecs import f32
from headwater_wire.codecs.header import HEADER_BYTES, parse
from headwater_wire.errors import Malformed
from headwater_wire.floats import FloatFile


class Codec(Protocol):
    """What a module of this package provides."""

    NAME: str

    def write(self, path: Path, vector: NDArray[np.float32]) -> None:
        """Write header and payload."""

    def open_payload(self, path: Path, elements: int) -> FloatFile:
        """Open what follows the header."""


_CODECS: dict[str, Codec] = {f32.NAME: f32}
NAMES = tuple(_CODECS)


def write_delta(path: Path, vector: NDArray[np.float32], codec: str = f32.NAME) -> None:
    """Write a delta file of a flat float32 vector. Not synced. Raises `Malformed` on an unknown codec."""
    if vector.ndim != 1 or vector.dtype != np.float32:
        raise ValueError(f"a delta is a flat float32 vector, not {vector.dtype} {vector.shape}")
    _codec(codec).write(path, vector)


def open_delta(path: Path, codec: str, elements: int) -> FloatFile:
    """Open a delta of `elements` numbers for reading by blocks.

    Raises `Malformed` if it is no delta, of another codec or of another model; `LengthMismatch` if it was cut short
    or goes on behind its end. Whether its numbers are those that were sent is for its digest to say.
    """
    known = _codec(codec)
    with path.open("rb") as file:
        header = parse(file.read(HEADER_BYTES))
    if header.codec != codec:
        raise Malformed(f"the delta is encoded as {header.codec!r}, but {codec!r} was announced")
    if header.elements != elements:
        raise Malformed(f"the delta has {header.elements} numbers; the model has {elements}: it is of another model")
    return known.open_payload(path, elements)


def _codec(name: str) -> Codec:
    if name not in _CODECS:
        raise Malformed(f"no codec is named {name[:80]!r}; known are {', '.join(NAMES)}")
    return _CODECS[name]
