"""A checkpoint: all that a training's next step depends upon, in one file under its SHA-256.

That is the parameters, the optimizer's state and the number of steps taken: the order of an epoch's examples follows
from the plan's seed and the epoch (split.py), and the control plane imports no graph that draws random numbers.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from headwater_wire import durable
from headwater_wire.crashpoint import crashpoint

from headwater_agent.training import heads
from headwater_agent.training.engine import Score, State

_DIGEST_BYTES = hashlib.sha256().digest_size
_READ_BYTES = 1 << 20
_PART = ".part"


@dataclass(frozen=True, slots=True)
class Place:
    """How far a training has come: `steps` are taken, `loss_sum` is that of the epoch the last of them belongs to."""

    steps: int
    loss_sum: float
    score: Score  # of the base version
    seconds: float


class Unusable(Exception):
    """A file that is no checkpoint, is damaged, or is another training's."""


def size_bytes(state: State) -> int:
    """Say how large a checkpoint of this state is, but for the few hundred bytes around it."""
    return sum(values.nbytes for values in state.values())


def write(path: Path, of: str, place: Place, state: State) -> None:
    """Put a checkpoint of the training `of` at `path`: after a crash the whole of it is there, or nothing new is."""
    part = path.with_name(f"{secrets.token_hex(4)}{_PART}")
    try:
        with part.open("xb") as file:
            digest = hashlib.sha256()
            for piece in (memoryview(_head(of, place, state)), *_floats(state)):
                file.write(piece)
                digest.update(piece)
            crashpoint("train.checkpoint.half")
            file.write(digest.digest())
        durable.adopt(part, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one worth telling
            part.unlink(missing_ok=True)
        raise
    crashpoint("train.checkpoint")


def look(path: Path, of: str) -> Place:
    """Say how far a checkpoint of the training `of` has come, by its head alone; raise `Unusable` if it is none."""
    with _opened(path) as file:
        return _place(heads.load(file), of)


def read(path: Path, of: str) -> tuple[Place, State]:
    """Read a checkpoint of the training `of`; raise `Unusable` if it is none, or damaged."""
    with _opened(path) as file:
        _check_digest(path)
        head = heads.load(file)
        place = _place(head, of)
        return place, {name: np.fromfile(file, "<f4", count) for name, count in head["tensors"]}


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise Unusable(f"it can't be read: {error.strerror or error}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise Unusable(f"it makes no sense: {error}") from error


def _place(head: Mapping[str, Any], of: str) -> Place:
    if head["of"] != of:
        raise Unusable("it is of another training: another task, other data, or another engine")
    place = head["place"]
    return Place(**{**place, "score": Score(**place["score"])})


def _head(of: str, place: Place, state: State) -> bytes:
    tensors = [(name, values.size) for name, values in state.items()]
    return heads.dump({"of": of, "place": asdict(place), "tensors": tensors})


def _floats(state: Mapping[str, Any]) -> Iterator[memoryview]:
    for values in state.values():
        yield np.ascontiguousarray(values, "<f4").data.cast("B")


def _check_digest(path: Path) -> None:
    left = path.stat().st_size - _DIGEST_BYTES
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(left, _READ_BYTES))):
            digest.update(piece)
            left -= len(piece)
        if left or file.read() != digest.digest():
            raise Unusable("it is damaged, or was cut short")
