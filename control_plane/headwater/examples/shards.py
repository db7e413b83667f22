"""Spreads labelled examples over devices so that none sees all classes: the hard, and usual, case at the edge."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Examples:
    """Images with their labels, as stored: the first axis is the example's."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    def take(self, rows: npt.NDArray[np.intp]) -> "Examples":
        """Give some of them."""
        return Examples(self.images[rows], self.labels[rows])

    def save(self, path: Path) -> None:
        """Write an npz of "image" and "label", as an agent reads it."""
        np.savez_compressed(path, image=self.images, label=self.labels)


@dataclass(frozen=True, slots=True)
class Shards:
    """One share per device, and examples of all classes that no device has."""

    devices: tuple[Examples, ...]
    test: Examples

    def pooled(self) -> Examples:
        """Put the devices' shares together: what central training would have."""
        return Examples(
            np.concatenate([shard.images for shard in self.devices]),
            np.concatenate([shard.labels for shard in self.devices]),
        )


def classes_of(device: int, devices: int, classes: int, classes_per_device: int) -> tuple[int, ...]:
    """Name a device's classes: neighbours on a ring, with starts evenly spaced.

    Five devices of four of ten classes hold every class twice. Raises `ValueError` if some class would be nobody's.
    """
    if not 0 < classes_per_device <= classes or devices * classes_per_device < classes:
        raise ValueError(
            f"{devices} devices of {classes_per_device} classes each can't hold {classes} classes: "
            f"take at least {-(-classes // max(1, devices))} classes a device"
        )
    start = device * classes // devices
    return tuple((start + place) % classes for place in range(classes_per_device))


def spread(
    examples: Examples,
    devices: int,
    classes: int,
    classes_per_device: int,
    seed: int,
    test_share: float,
    most_per_device: int | None = None,
) -> Shards:
    """Hold out `test_share` of the examples, then divide each class of the rest among the devices that have it."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(examples.labels))
    tests = round(len(order) * test_share)
    kept, test = order[tests:], order[:tests]
    owners = [
        [device for device in range(devices) if wanted in classes_of(device, devices, classes, classes_per_device)]
        for wanted in range(classes)
    ]
    shares: list[list[npt.NDArray[np.intp]]] = [[] for _ in range(devices)]
    for wanted, own in enumerate(owners):
        rows = kept[examples.labels[kept] == wanted]
        for device, part in zip(own, np.array_split(rows, len(own)), strict=True):
            shares[device].append(part)
    shuffled = [random.permutation(np.concatenate(share))[:most_per_device] for share in shares]
    return Shards(tuple(examples.take(rows) for rows in shuffled), examples.take(test))
