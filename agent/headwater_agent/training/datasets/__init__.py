"""Datasets of the box: opened by format, converted as declared, the same interface for all."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from headwater_wire.messages import DatasetCard

from headwater_agent.training.datasets import csv, idx, npz
from headwater_agent.training.datasets.column import LoadedColumn, check_config, load_column
from headwater_agent.training.engine import Batch
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import DatasetConfig

# A format is two functions of a config: the raw arrays by column name, and the files they come from.
Arrays = dict[str, npt.NDArray[np.generic]]
_FORMATS: dict[str, tuple[Callable[[DatasetConfig], Arrays], Callable[[DatasetConfig], tuple[Path, ...]]]] = {
    "npz": (npz.read, npz.files),
    "csv": (csv.read, csv.files),
    "idx": (idx.read, idx.files),
}
FORMATS = tuple(_FORMATS)


@dataclass(frozen=True, slots=True)
class Dataset:
    """An opened dataset: `count` examples, at least one, every column of the same length."""

    name: str
    columns: tuple[LoadedColumn, ...]
    count: int

    def batch(self, rows: npt.NDArray[np.intp]) -> Batch:
        """Give these examples, by column name."""
        return {column.schema.name: column.take(rows) for column in self.columns}

    def card(self) -> DatasetCard:
        """Describe it to the control plane."""
        return DatasetCard(self.name, self.count, tuple(column.schema for column in self.columns))


def open_dataset(config: DatasetConfig) -> Dataset:
    """Open a dataset; raise `NotPossible` with the file, the place in it, and what to do."""
    where = f"dataset {config.name!r}"
    check_config(config.columns, where)
    try:
        arrays = _format(config)[0](config)
        columns = tuple(load_column(column, arrays[column.name], where) for column in config.columns)
    except OSError as error:
        raise NotPossible(
            f"{where}: {error.filename or config.path} can't be read: {error.strerror or error}"
        ) from error
    counts = {column.schema.name: len(column.raw) for column in columns}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise NotPossible(f"{where}: its columns have different numbers of examples ({told})")
    count = next(iter(counts.values()))
    if not count:
        raise NotPossible(f"{where} is empty: {config.path} holds no example")
    return Dataset(config.name, columns, count)


def stamp(config: DatasetConfig) -> tuple[object, ...]:
    """Say what an opened dataset depends on; while it stays equal, it need not be opened again."""
    try:
        statuses = [path.stat() for path in _format(config)[1](config)]
    except OSError as error:
        return (config, str(error))
    return (config, *((status.st_ino, status.st_mtime_ns, status.st_size) for status in statuses))


def _format(
    config: DatasetConfig,
) -> tuple[Callable[[DatasetConfig], Arrays], Callable[[DatasetConfig], tuple[Path, ...]]]:
    if config.format not in _FORMATS:
        raise NotPossible(f"dataset {config.name!r} has the format {config.format!r}; known are {', '.join(FORMATS)}")
    return _FORMATS[config.format]
