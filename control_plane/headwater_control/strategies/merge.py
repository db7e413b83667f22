"""Merging as a fold over immutable files, block by block: memory flat in the deltas' number and the model's size."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from headwater_wire import codecs, tensors
from headwater_wire.crashpoint import crashpoint
from headwater_wire.errors import LengthMismatch, Malformed
from headwater_wire.floats import BLOCK_ELEMENTS, F32, FloatFile, blocks, check_finite
from numpy.typing import NDArray

_KEPT_OPEN = 256  # files; the rest are opened for each block, since a process may have no more than 1,024


def merge(
    base_path: Path,
    deltas: Sequence[tuple[Path, float]],
    codec: str,
    out_path: Path,
    *,
    block: int = BLOCK_ELEMENTS,
) -> None:
    """Write base + Σ weight · delta as a version's file with the base's header. Not synced.

    Sums in float64, in the order of `deltas`, and rounds once to float32: the same bits for the same input, whatever
    the block size. Raises `Malformed` naming the delta that is of another model, damaged or not finite; what stands
    at `out_path` is then worthless.
    """
    header = tensors.read_layout(base_path).header
    with ExitStack() as stack, np.errstate(over="ignore", invalid="ignore"):  # each block's result is looked at
        base = stack.enter_context(tensors.open_vector(base_path))
        fold = _Fold(base, tuple(deltas), codec, block, stack)
        pieces = tuple(blocks(base.elements, block))
        out = stack.enter_context(out_path.open("wb"))
        out.write(header)
        for number, (start, length) in enumerate(pieces):
            if number == len(pieces) // 2:
                crashpoint("merge.half")
            out.write(fold.sum(start, length).data)


class _Fold:
    """What is summed, and the memory of one block. Every input is checked before anything is written."""

    def __init__(
        self, base: FloatFile, deltas: tuple[tuple[Path, float], ...], codec: str, block: int, stack: ExitStack
    ) -> None:
        self._base = base
        self._deltas = deltas
        self._codec = codec
        self._read: NDArray[np.float32] = np.empty(min(block, base.elements), F32)
        self._wide = np.empty(self._read.size, np.float64)
        self._sum = np.empty(self._read.size, np.float64)
        self._kept = [stack.enter_context(self._open(number)) for number in range(min(_KEPT_OPEN, len(deltas)))]
        for number in range(len(self._kept), len(deltas)):
            self._open(number).close()

    def sum(self, start: int, length: int) -> NDArray[np.float32]:
        """Sum one block; the result stands until the next call."""
        read, wide, total = self._read[:length], self._wide[:length], self._sum[:length]
        self._base.read_into(start, read)
        total[:] = read
        for number, (_, weight) in enumerate(self._deltas):
            self._fill(number, start, read)
            wide[:] = read  # to cast first is 10 % faster than to multiply mixed types
            np.multiply(wide, weight, out=wide)
            np.add(total, wide, out=total)
        read[:] = total
        if not np.isfinite(read).all():
            self._blame()
        return read

    def _fill(self, number: int, start: int, out: NDArray[np.float32]) -> None:
        if number < len(self._kept):
            self._kept[number].read_into(start, out)
            return
        with self._open(number) as delta:
            delta.read_into(start, out)

    def _open(self, number: int) -> FloatFile:
        try:
            return codecs.open_delta(self._deltas[number][0], self._codec, self._base.elements)
        except (Malformed, LengthMismatch) as error:
            raise Malformed(f"{self._name(number)}: {error}") from error

    def _blame(self) -> None:
        """Raise, naming what made a sum infinite or undefined."""
        check_finite(self._base, "the base version")
        for number in range(len(self._deltas)):
            with self._open(number) as delta:
                check_finite(delta, self._name(number))
        raise Malformed("the merged parameters do not fit float32: the deltas are finite, but far too large")

    def _name(self, number: int) -> str:
        return f"delta {number + 1} of {len(self._deltas)} ({self._deltas[number][0].name})"
