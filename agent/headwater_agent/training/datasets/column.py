"""One tensor of a dataset: kept as raw as it came, converted row by row when a batch asks for it."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from headwater_wire.messages import Column

from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import ColumnConfig

_SCAN_ROWS = 4096  # looked over at a time, so that a check never copies a whole dataset
_KINDS = "fiub"  # float, int, unsigned, bool: what a tensor of ONNX can hold without objects
_DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


@dataclass(frozen=True, slots=True)
class LoadedColumn:
    """`raw` has the examples along its first axis; values become (raw · scale − mean) / std, then `schema.dtype`."""

    schema: Column
    raw: npt.NDArray[Any]
    config: ColumnConfig

    def take(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        """Give these examples, converted: (len(rows), *schema.shape) of schema.dtype, contiguous."""
        return self._convert(self.raw[rows])

    def check(self, where: str) -> None:
        """Raise `NotPossible` naming the first value that is not finite, or does not fit the dtype."""
        floats_in, floats_out = self.raw.dtype.kind == "f", np.dtype(self.schema.dtype).kind == "f"
        if not floats_in and floats_out:
            return  # whole numbers always fit
        for start in range(0, len(self.raw), _SCAN_ROWS):
            part = self.raw[start : start + _SCAN_ROWS]
            flat = part.reshape(len(part), -1)
            self._check_part(flat, start, where)

    def _check_part(self, part: npt.NDArray[Any], start: int, where: str) -> None:
        target = np.dtype(self.schema.dtype)
        with np.errstate(all="ignore"):
            if part.dtype.kind == "f":
                _demand(
                    np.isfinite(part), part, start, f"{where}: column {self.schema.name!r} holds", "it must be finite"
                )
            if target.kind != "f":
                exact = self._normalised(part)
                same = exact == exact.astype(target)
                advice = f"that is no {target}: correct the data, or the column's dtype, scale, mean and std"
                _demand(same, exact, start, f"{where}: column {self.schema.name!r} holds", advice)

    def _convert(self, part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        values = self._normalised(part).astype(self.schema.dtype, copy=False)
        return np.ascontiguousarray(values).reshape(len(part), *self.schema.shape)

    def _normalised(self, part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        config = self.config
        if (config.scale, config.mean, config.std) == (1.0, 0.0, 1.0):
            return part
        wide = np.float64 if part.dtype.itemsize > 4 else np.float32
        values: npt.NDArray[Any] = part.astype(wide)
        np.multiply(values, config.scale, out=values)
        np.subtract(values, config.mean, out=values)
        np.divide(values, config.std, out=values)
        return values


def load_column(config: ColumnConfig, raw: npt.NDArray[Any], where: str) -> LoadedColumn:
    """Fit raw values to a column's declaration, and look them over; raise `NotPossible` saying what is wrong."""
    if raw.dtype.kind not in _KINDS:
        raise NotPossible(
            f"{where}: column {config.name!r} holds {raw.dtype}, not numbers: replace each text by a number (0, 1, 2 …)"
        )
    if raw.ndim == 0:
        raise NotPossible(f"{where}: column {config.name!r} is a single number, not one value per example")
    shape = raw.shape[1:] if config.shape is None else config.shape
    if prod(shape) != prod(raw.shape[1:]):
        raise NotPossible(
            f"{where}: column {config.name!r} has examples of shape {raw.shape[1:]}, "
            f"which can't become {shape}: correct its `shape` in the agent's configuration"
        )
    column = LoadedColumn(Column(config.name, config.dtype, tuple(int(size) for size in shape)), raw, config)
    column.check(where)
    return column


def check_config(columns: tuple[ColumnConfig, ...], where: str) -> None:
    """Raise `NotPossible` if a declaration can't be meant."""
    if not columns:
        raise NotPossible(f"{where}: no columns are declared: name at least one that feeds a model input")
    seen = set()
    for column in columns:
        if column.name in seen:
            raise NotPossible(f"{where}: column {column.name!r} is declared twice")
        seen.add(column.name)
        if column.dtype not in _DTYPES:
            raise NotPossible(f"{where}: column {column.name!r} is of {column.dtype!r}; known are {', '.join(_DTYPES)}")
        if not column.source:
            raise NotPossible(f"{where}: column {column.name!r} has no source")
        if not column.std or not np.isfinite([column.scale, column.mean, column.std]).all():
            raise NotPossible(
                f"{where}: column {column.name!r} can't be normalised by scale {column.scale}, mean {column.mean}, "
                f"std {column.std}: all must be finite, and std not zero"
            )


def _demand(good: npt.NDArray[np.bool_], values: npt.NDArray[Any], start: int, before: str, after: str) -> None:
    if not good.all():
        row, place = np.argwhere(~good)[0]
        raise NotPossible(f"{before} {values[row, place]} in example {start + row}; {after}")
