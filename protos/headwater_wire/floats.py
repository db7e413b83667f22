"""Part of a file that holds little-endian float32 numbers: read by blocks, so that memory stays flat."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from headwater_wire.errors import LengthMismatch, Malformed

F32 = np.dtype("<f4")
BLOCK_ELEMENTS = 1 << 16  # 256 KiB of float32 stay in a core's second-level cache; measured in benches/merge.py


class Floats(Protocol):
    """A flat float32 vector that can be read from any place."""

    @property
    def elements(self) -> int:
        """Count its numbers."""

    def read_into(self, start: int, out: NDArray[np.float32]) -> None:
        """Fill `out` with the numbers from `start` on."""


class FloatFile:
    """The `elements` numbers that start at byte `offset` of a file. Closes with its context."""

    def __init__(self, path: Path, offset: int, elements: int) -> None:
        self.path = path
        self.offset = offset
        self._elements = elements
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def elements(self) -> int:
        """Count its numbers."""
        return self._elements

    def read_into(self, start: int, out: NDArray[np.float32]) -> None:
        """Fill `out` (float32, contiguous) with the numbers from `start` on.

        Raises `ValueError` beyond the end, `LengthMismatch` if the file was cut short since it was opened.
        """
        if start < 0 or start + out.size > self._elements:
            raise ValueError(f"elements {start} to {start + out.size} of {self._elements}")
        if not out.size:
            return
        view = out.data.cast("B")
        done = 0
        place = self.offset + start * F32.itemsize
        while done < len(view):
            got = os.preadv(self._descriptor, [view[done:]], place + done)
            if not got:
                raise LengthMismatch(self.offset + self._elements * F32.itemsize, place + done)
            done += got

    def load(self) -> NDArray[np.float32]:
        """Read all of it."""
        vector = np.empty(self._elements, F32)
        self.read_into(0, vector)
        return vector

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def blocks(elements: int, size: int = BLOCK_ELEMENTS) -> Iterator[tuple[int, int]]:
    """Cut a vector into (start, length) pieces."""
    for start in range(0, elements, size):
        yield start, min(size, elements - start)


def check_finite(floats: Floats, what: str, *, block: int = BLOCK_ELEMENTS) -> None:
    """Raise `Malformed` naming `what` and the first place that holds a NaN or an infinity."""
    buffer = np.empty(min(block, floats.elements), F32)
    for start, length in blocks(floats.elements, block):
        part = buffer[:length]
        floats.read_into(start, part)
        finite = np.isfinite(part)
        if not finite.all():
            place = int(np.argmin(finite))
            raise Malformed(f"{what} holds {part[place]} at element {start + place}: every number must be finite")
