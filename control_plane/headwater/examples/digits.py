"""The 1,797 handwritten digits of the UCI repository, 8×8 pixels, shipped with the package (see DATA.md)."""

from importlib.resources import files

import numpy as np
import numpy.typing as npt

from headwater.examples.shards import Examples, Shards, spread

CLASSES = 10
# How a device declares a shard to its agent (see docs/datasets.md); {path} is to be filled in.
DATASET_TOML = """\
[datasets.digits]
format = "npz"
path = {path}

[datasets.digits.columns.image]
source = "image"
shape = [1, 8, 8]
scale = 0.0625  # pixels are 0 to 16
mean = 0.305
std = 0.376

[datasets.digits.columns.label]
source = "label"
dtype = "int64"
"""


def load() -> Examples:
    """Read all of them: images uint8 (1797, 8, 8) from 0 to 16, labels uint8 from 0 to 9."""
    with files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return Examples(archive["image"], archive["label"])


def shards(devices: int, classes_per_device: int = 4, seed: int = 0, test_share: float = 0.2) -> Shards:
    """Give each device only some of the digits, and hold out a test set of all ten."""
    return spread(load(), devices, CLASSES, classes_per_device, seed, test_share)


def normalised(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Bring images into the form that the model takes: float32 (n, 1, 8, 8), as DATASET_TOML declares it."""
    scaled = images.reshape(-1, 1, 8, 8).astype(np.float32) * np.float32(0.0625)
    return np.ascontiguousarray((scaled - np.float32(0.305)) / np.float32(0.376), np.float32)
