"""The codec `f32`: little-endian float32 as they are."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headwater_wire.codecs.header import HEADER_BYTES, Header
from headwater_wire.errors import LengthMismatch
from headwater_wire.floats import F32, FloatFile

NAME = "f32"


def write(path: Path, vector: NDArray[np.float32]) -> None:
    """Write a delta file of a flat vector. Not synced."""
    with path.open("wb") as file:
        file.write(Header(NAME, vector.size).to_bytes())
        file.write(np.ascontiguousarray(vector, F32).data)


def open_payload(path: Path, elements: int) -> FloatFile:
    """Open what follows the header; raise `LengthMismatch` unless it is `elements` numbers exactly."""
    wanted, got = HEADER_BYTES + elements * F32.itemsize, path.stat().st_size
    if got != wanted:
        raise LengthMismatch(wanted, got)
    return FloatFile(path, HEADER_BYTES, elements)
