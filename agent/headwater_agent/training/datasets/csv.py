"""Datasets in csv: a header of column names, then one example a line, numbers only; gzipped or not."""

import csv
import gzip
import io
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import numpy as np
import numpy.typing as npt

from headwater_agent.training.datasets.naming import few
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig

_GZIP = b"\x1f\x8b"
_REST = "*"  # as a source: every column of the file that nothing else takes, in the file's order


def files(config: DatasetConfig) -> tuple[Path, ...]:
    """Name the file."""
    return (Path(config.path),)


def read(config: DatasetConfig) -> dict[str, npt.NDArray[np.generic]]:
    """Read each column's numbers as float64: one value an example, or as many as the column names sources."""
    path = Path(config.path)
    with _open(path) as text:
        rows = csv.reader(text, strict=True)
        try:
            header = _header(rows, path)
            places = {column.name: _places(column, config, header, path) for column in config.columns}
            values = {column.name: array("d") for column in config.columns}
            for row in rows:
                if not row:
                    continue  # an empty line, as at the end of many files
                _check_width(row, header, path, rows.line_num)
                for name, chosen in places.items():
                    try:
                        numbers = [float(row[place]) for place in chosen]
                    except ValueError:
                        _refuse_cell(row, header, chosen, path, rows.line_num)
                        raise
                    if not isfinite(sum(numbers)):  # one addition each, so that a look at every cell is rare
                        _refuse_cell(row, header, chosen, path, rows.line_num)
                    values[name].extend(numbers)
        except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise NotPossible(f"{path}, near line {rows.line_num + 1}: {error}") from error
    return {column.name: _shaped(values[column.name], column, len(places[column.name])) for column in config.columns}


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
        file.seek(0)
        data = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file
        with io.TextIOWrapper(data, encoding="utf-8-sig", newline="") as text:
            yield text


def _header(rows: Iterator[list[str]], path: Path) -> list[str]:
    header = [name.strip() for name in next(rows, [])]
    if not header:
        raise NotPossible(f"{path} is empty: it needs a first line with the columns' names")
    if all(_is_number(name) for name in header):
        raise NotPossible(f"{path}, line 1: these are numbers, not names: put a line with the columns' names before it")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise NotPossible(f"{path}, line 1: its columns must be separated by commas")
    return header


def _places(column: ColumnConfig, config: DatasetConfig, header: list[str], path: Path) -> list[int]:
    source = column.source
    if source == (_REST,):
        taken = {name for other in config.columns if other is not column for name in other.source}
        source = tuple(name for name in header if name not in taken)
        if not source or _REST in taken:
            raise NotPossible(
                f"{path}: nothing is left for {column.name!r}, whose source is {_REST!r}: name its columns"
            )
    for name in source:
        if header.count(name) > 1:
            raise NotPossible(
                f"{path}, line 1: the column {name!r} stands there {header.count(name)} times: rename one"
            )
        if name not in header:
            raise NotPossible(
                f"{path} has no column {name!r}, which {column.name!r} is made of; it has {few(header, name)}"
            )
    return [header.index(name) for name in source]


def _check_width(row: Sequence[str], header: Sequence[str], path: Path, line: int) -> None:
    if len(row) != len(header):
        raise NotPossible(f"{path}, line {line}: {len(row)} values, where the header names {len(header)} columns")


def _refuse_cell(row: Sequence[str], header: Sequence[str], chosen: list[int], path: Path, line: int) -> None:
    place = next((place for place in chosen if not _is_finite(row[place])), None)
    if place is None:
        return
    cell = row[place].strip()
    if not cell:
        raise NotPossible(f"{path}, line {line}, column {header[place]!r}: empty: fill it in, or leave the line out")
    if _is_number(cell):
        raise NotPossible(f"{path}, line {line}, column {header[place]!r}: {cell} is not finite: leave the line out")
    raise NotPossible(
        f"{path}, line {line}, column {header[place]!r}: {cell[:80]!r} is text, not a number: "
        "give each kind a number (0, 1, 2 …, the same on every device)"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_finite(text: str) -> bool:
    return _is_number(text) and isfinite(float(text))


def _shaped(values: "array[float]", column: ColumnConfig, width: int) -> npt.NDArray[np.generic]:
    flat = np.frombuffer(values, np.float64) if values else np.empty(0)
    single = len(column.source) == 1 and column.source != (_REST,)
    return flat if single else flat.reshape(-1, width)
