"""Datasets in IDX, the format of MNIST: one file a column in one folder, gzipped or not."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig

# http://yann.lecun.com/exdb/mnist: two zero bytes, the type, the number of dimensions; then each as a big-endian int32.
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"


def files(config: DatasetConfig) -> tuple[Path, ...]:
    """Name the files, each as it is there: plain or with .gz."""
    return tuple(_file(Path(config.path), column) for column in config.columns)


def read(config: DatasetConfig) -> dict[str, npt.NDArray[np.generic]]:
    """Read each column's file in the dtype and shape that its header tells; a plain file is mapped, not copied."""
    return {column.name: read_file(_file(Path(config.path), column)) for column in config.columns}


def read_file(path: Path) -> npt.NDArray[np.generic]:
    """Read one IDX file; raise `NotPossible` if it is none, or has more or fewer bytes than its header tells."""
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    try:
        return _unzip(path) if zipped else _map(path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise NotPossible(f"{path} is damaged, or was cut short: {error}") from error


def _map(path: Path) -> npt.NDArray[np.generic]:
    with path.open("rb") as file:
        dtype, shape = _header(file.read(4 + 4 * 255), path)
    offset, size = 4 + 4 * len(shape), path.stat().st_size
    _check_size(size - offset, dtype, shape, path)
    if not prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape)


def _unzip(path: Path) -> npt.NDArray[np.generic]:
    with gzip.open(path) as file:
        start = file.read(4)
        dtype, shape = _header(start + file.read(4 * start[3] if len(start) == 4 else 0), path)
        wanted = prod(shape) * dtype.itemsize
        data = file.read(wanted + 1)  # one more shows that there is more
    _check_size(len(data), dtype, shape, path)
    return np.frombuffer(data, dtype).reshape(shape)


def _header(start: bytes, path: Path) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not start[3]:
        raise NotPossible(f"{path} is no IDX file: it begins with {start[:4].hex(' ') or 'nothing'}")
    if len(start) < 4 + 4 * start[3]:
        raise NotPossible(f"{path} was cut short in its header")
    shape = tuple(int(size) for size in np.frombuffer(start, ">i4", start[3], 4))
    if min(shape) < 0:
        raise NotPossible(f"{path} is damaged: its header tells the shape {shape}")
    return np.dtype(_TYPES[start[2]]), shape


def _check_size(got: int, dtype: np.dtype[np.generic], shape: tuple[int, ...], path: Path) -> None:
    wanted = prod(shape) * dtype.itemsize
    if got != wanted:
        raise NotPossible(
            f"{path} has {'more' if got > wanted else 'fewer'} than the {wanted} bytes "
            f"that its header tells ({dtype} {shape}): get it again"
        )


def _file(folder: Path, column: ColumnConfig) -> Path:
    if len(column.source) != 1:
        raise NotPossible(f"column {column.name!r} takes one IDX file, not {len(column.source)}")
    for name in (column.source[0], f"{column.source[0]}.gz"):
        if (folder / name).is_file():
            return folder / name
    raise NotPossible(f"{folder} has neither {column.source[0]} nor {column.source[0]}.gz: column {column.name!r}")
