"""How far two machines' parameters are apart."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from headwater_wire.manifest import Manifest

TOLERANCE = 1e-5

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Difference:
    """One parameter's: `relative` is its largest difference over the largest magnitude that either machine has."""

    parameter: str
    shape: tuple[int, ...]
    largest: float
    relative: float

    @property
    def small(self) -> bool:
        """Tell whether it is within the tolerance; one that is no number is not."""
        return self.relative <= TOLERANCE


def differences(description: Manifest, one: Vector, other: Vector) -> Iterator[Difference]:
    """Compare two versions of a model, parameter by parameter."""
    for parameter in description.parameters:
        part = slice(parameter.offset, parameter.offset + parameter.elements)
        a, b = one[part].astype(np.float64), other[part].astype(np.float64)
        largest = float(max(np.abs(a).max(), np.abs(b).max()))
        apart = float(np.abs(a - b).max())
        yield Difference(parameter.name, parameter.shape, largest, apart / largest if apart else 0.0)
