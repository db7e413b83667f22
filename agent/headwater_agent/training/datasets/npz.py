"""Datasets in numpy's npz: a zip of arrays; never one that holds Python objects, for those can carry code."""

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headwater_agent.training.datasets.naming import few
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import DatasetConfig


def files(config: DatasetConfig) -> tuple[Path, ...]:
    """Name the file."""
    return (Path(config.path),)


def read(config: DatasetConfig) -> dict[str, npt.NDArray[np.generic]]:
    """Read each column's array, in the dtype it was stored with."""
    path = Path(config.path)
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise NotPossible(f"{path} is a single array, not an npz: save it by numpy.savez(…, name=array)")
            with archive:
                for column in config.columns:
                    arrays[column.name] = _array(archive, column.source, column.name, path)
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise NotPossible(f"{path} can't be read as npz without running code: {error}") from error
    return arrays


def _array(archive: np.lib.npyio.NpzFile, source: tuple[str, ...], column: str, path: Path) -> npt.NDArray[np.generic]:
    if len(source) != 1:
        raise NotPossible(f"{path}: column {column!r} takes one array of an npz, not {len(source)}")
    if source[0] not in archive.files:
        held = few(archive.files, source[0]) or "none"
        raise NotPossible(f"{path} has no array {source[0]!r}, which column {column!r} wants; it has {held}")
    array: npt.NDArray[np.generic] = archive[source[0]]
    return array
