"""MNIST from a folder of its four IDX files, gzipped or not. Not shipped: bring your own."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headwater.examples.shards import Examples, Shards, spread

CLASSES = 10
_FILES = ("{part}-images-idx3-ubyte", "{part}-labels-idx1-ubyte")
# How a device declares a shard to its agent (see docs/datasets.md); {path} is to be filled in.
DATASET_TOML = """\
[datasets.digits]
format = "npz"
path = {path}

[datasets.digits.columns.image]
source = "image"
shape = [1, 28, 28]
scale = 0.00392156862745098  # pixels are 0 to 255
mean = 0.1307
std = 0.3081

[datasets.digits.columns.label]
source = "label"
dtype = "int64"
"""


def load(folder: Path, part: str = "train") -> Examples:
    """Read the "train" or "t10k" part: images uint8 (n, 28, 28), labels uint8.

    Raise `ValueError` naming the file that isn't there or is damaged, and what is wrong with it.
    """
    images, labels = (_read(folder / name.format(part=part)) for name in _FILES)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(f"{folder}: images {images.shape} and labels {labels.shape} don't belong together")
    return Examples(images, labels)


def shards(
    folder: Path, devices: int, classes_per_device: int = 4, seed: int = 0, most_per_device: int | None = 2000
) -> Shards:
    """Give each device only some of the training digits; the test set is MNIST's own."""
    pieces = spread(load(folder), devices, CLASSES, classes_per_device, seed, 0.0, most_per_device)
    return Shards(pieces.devices, load(folder, "t10k"))


def normalised(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Bring images into the form that the model takes: float32 (n, 1, 28, 28), as DATASET_TOML declares it."""
    scaled = images.reshape(-1, 1, 28, 28).astype(np.float32) * np.float32(0.00392156862745098)
    return np.ascontiguousarray((scaled - np.float32(0.1307)) / np.float32(0.3081), np.float32)


def _read(path: Path) -> npt.NDArray[np.uint8]:
    zipped = path.with_name(f"{path.name}.gz")
    if path.is_file():
        return _parse(path.read_bytes(), path)
    if not zipped.is_file():
        raise ValueError(f"{path.parent} has neither {path.name} nor {zipped.name}")
    try:
        data = gzip.decompress(zipped.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{zipped} is damaged, or was cut short: {error}") from error
    return _parse(data, zipped)


def _parse(data: bytes, path: Path) -> npt.NDArray[np.uint8]:
    if data[:3] != b"\0\0\x08" or len(data) < 4 or not data[3]:  # bytes, as MNIST has them
        raise ValueError(f"{path} is no IDX file of bytes: it begins with {data[:4].hex(' ') or 'nothing'}")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise ValueError(f"{path} was cut short in its header")
    shape = tuple(int(size) for size in np.frombuffer(data, ">i4", data[3], 4))
    if min(shape) < 0 or len(data) != start + prod(shape):
        raise ValueError(f"{path} has {len(data) - start} bytes, but its header tells the shape {shape}: get it again")
    return np.frombuffer(data, np.uint8, prod(shape), start).reshape(shape)
