"""Version and delta files for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from headwater_wire import codecs, tensors
from headwater_wire.manifest import Parameter
from numpy.typing import NDArray


def write_version(path: Path, values: Sequence[float] | NDArray[np.float32]) -> Path:
    """Write a version of one parameter, "w"."""
    vector = np.asarray(values, np.float32)
    tensors.write_vector(path, [Parameter("w", vector.shape, 0)], vector)
    return path


def read_version(path: Path) -> NDArray[np.float32]:
    """Read a version's flat vector."""
    with tensors.open_vector(path) as vector:
        return vector.load()


def write_delta(path: Path, values: Sequence[float] | NDArray[np.float32]) -> Path:
    """Write a delta in the codec f32."""
    codecs.write_delta(path, np.asarray(values, np.float32))
    return path
