"""Reads arrays from an npz that a stranger made: only those that are wanted, and nothing larger than they can be."""

import zipfile
from collections.abc import Mapping
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_SUFFIX = ".npy"
_HEADER_BYTES = 1 << 16  # of an array's description, generously


def read_npz(file: IO[bytes], most: Mapping[str, int]) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Read the arrays whose names `most` has, each of at most so many bytes; give them and all names there are.

    A megabyte of zip can hold a gigabyte of zeros: a member's length is looked at before it is unpacked (zipfile takes
    no more than it says), and its shape before there is memory for it. Raises ValueError, which says why.
    """
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = tuple(member.filename.removesuffix(_SUFFIX) for member in members)
        if len(set(names)) < len(names):
            raise ValueError("it holds two arrays of one name")
        for name, member in zip(names, members, strict=True):
            if name not in most:
                continue
            _check(name, member.file_size, most[name] + _HEADER_BYTES)
            with archive.open(member) as stream:
                _check(name, _announced(stream), most[name])
            with archive.open(member) as stream:
                found[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return found, names


def _check(name: str, size: int, most: int) -> None:
    if size > most:
        raise ValueError(f"{name!r} would take {size} bytes, where the model has no more than {most}")


def _announced(stream: IO[bytes]) -> int:
    """Give the bytes of the array that a header describes."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(np.lib.format.read_magic(stream))
    if read is None:
        raise ValueError("it is of an npy format other than 1.0 and 2.0")
    shape, _, dtype = read(stream)
    return prod(shape) * dtype.itemsize
