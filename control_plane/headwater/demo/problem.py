"""What the demo learns: handwritten digits, spread over devices of which none sees all ten."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from headwater.errors import HeadwaterError
from headwater.examples import classifier, digits, mnist
from headwater.examples.shards import Shards, classes_of

CLASSES = 10
CLASSES_PER_DEVICE = 4
MNIST_PER_DEVICE = 1000  # of some 12,000: a demo's length


class NoSuchData(HeadwaterError):
    """The data asked for can't be read, or can't be spread over so few devices."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Data in shards, and a classifier to train on it."""

    title: str
    shards: Shards
    model: onnx.ModelProto
    dataset_toml: str
    normalised: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
    epochs: int
    batch_size: int
    learning_rate: float

    def dataset(self, path: Path) -> str:
        """Declare a shard's file, as an agent's configuration does."""
        return self.dataset_toml.format(path=json.dumps(str(path)))


def pose(data: Path | None, devices: int) -> Problem:
    """Take the shipped digits, or MNIST from the folder `data`; raise `NoSuchData`."""
    try:
        if data is None:
            return Problem(
                "1,797 handwritten digits, 8×8 (UCI)",
                digits.shards(devices, CLASSES_PER_DEVICE),
                classifier.digits_classifier(),
                digits.DATASET_TOML,
                digits.normalised,
                epochs=2,
                batch_size=16,
                learning_rate=0.1,
            )
        return Problem(
            f"MNIST from {data}",
            mnist.shards(data, devices, CLASSES_PER_DEVICE, most_per_device=MNIST_PER_DEVICE),
            classifier.mnist_classifier(),
            mnist.DATASET_TOML,
            mnist.normalised,
            epochs=1,
            batch_size=32,
            learning_rate=0.1,
        )
    except (OSError, ValueError) as error:
        raise NoSuchData(str(error)) from error


def classes(device: int, devices: int) -> str:
    """Name the digits that a device sees."""
    return " ".join(str(digit) for digit in sorted(classes_of(device, devices, CLASSES, CLASSES_PER_DEVICE)))
