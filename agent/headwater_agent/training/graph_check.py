"""What an ONNX file must be before ONNX Runtime opens it: standard operators, numbers inside, nothing out of bounds.

It is read as it lies on disk, field by field, without ONNX's own code, and none of its numbers are. What the runtime
would read in another place (a library, a file, its own settings) has no way in.
"""

from collections.abc import Collection
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from headwater_agent.training import wire_format
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.onnx_fields import (
    DATA_LOCATION,
    DATA_TYPE,
    DIMS,
    ELEMENT_BYTES,
    EXTERNAL,
    INITIALIZER,
    LEAVES,
    MESSAGES,
    NAME,
    NEEDED,
)
from headwater_agent.training.wire_format import VARINT, Damaged, Data


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a graph may be."""

    size_bytes: int = 1 << 30  # of the file, and of all its tensors in memory
    nodes: int = 100_000
    fields: int = 4_000_000  # so that reading ends in seconds
    depth: int = 64  # of messages in messages: about twenty graphs in graphs. ONNX's own reader takes 100


DOMAINS = (b"", b"ai.onnx")
_SETTINGS = b"ort_config"  # by which a model brings session options along
_LIMITS = Limits()
_PLACE = b"constants"  # what the compiler calls the place of the tensors that the engine puts in


def check(path: Path, given: Collection[str] = (), limits: Limits = _LIMITS) -> None:
    """Raise `NotPossible` unless the graph may be opened; `given` names the constants that the engine will put in."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size > limits.size_bytes:
                raise _Refused(f"it has {size} bytes; {limits.size_bytes} is the limit")
            if not size:
                raise _Refused("it is empty")
            with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                _Reading(data, {name.encode() for name in given}, limits).model()
    except OSError as error:
        raise NotPossible(f"the graph {path.name[:80]} can't be read: {error.strerror}") from error
    except Damaged as error:
        raise NotPossible(f"the graph is no ONNX file, or was cut short: {error}") from error
    except _Refused as error:
        raise NotPossible(f"the graph is not run on this device: {error}") from error


class _Refused(Exception):
    pass


class _Reading:
    """One pass over a file."""

    def __init__(self, data: Data, given: Collection[bytes], limits: Limits) -> None:
        self._data = data
        self._given = given
        self._limits = limits
        self._fields = self._nodes = self._bytes = 0
        self._seen: set[tuple[str, int]] = set()

    def model(self) -> None:
        self._message("model", 0, len(self._data), 0)
        if not self._seen >= NEEDED:
            raise Damaged("it lacks its version, its graph or its opset")

    def _message(self, kind: str, start: int, end: int, depth: int) -> None:
        if depth > self._limits.depth:
            raise _Refused(f"its parts are nested more than {self._limits.depth} deep")
        if kind == "node":
            self._nodes += 1
            if self._nodes > self._limits.nodes:
                raise _Refused(f"it has more than {self._limits.nodes} nodes")
        for number, wire, value, stop in wire_format.fields(self._data, start, end):
            inner = self._known(kind, number, wire)
            if depth == 0:
                self._seen.add((kind, number))
            if inner == "tensor":
                self._tensor(value, stop, depth + 1, top=depth == 1 and (kind, number) == INITIALIZER)
            elif inner in MESSAGES:
                self._message(inner, value, stop, depth + 1)
            elif inner == "domain" and self._data[value:stop] not in DOMAINS:
                raise _Refused(f"it uses operators of the domain {self._text(value, stop)!r}; only ONNX's own are run")
            elif inner == "key" and self._data[value:stop] == _SETTINGS:
                raise _Refused(f"it brings settings of the runtime ({_SETTINGS.decode()})")

    def _known(self, kind: str, number: int, wire: int) -> str:
        """Say what a field holds; raise `_Refused` if no graph of ours has it, or has it so."""
        self._count()
        inner = MESSAGES[kind].get(number)
        if inner is None or wire not in LEAVES.get(inner, (wire_format.BYTES,)):
            raise _Refused(f"it has what no graph of ours has: a {kind} with the field {number} (wire type {wire})")
        return inner

    def _count(self) -> None:
        self._fields += 1
        if self._fields > self._limits.fields:
            raise _Refused(f"it has more than {self._limits.fields} fields")

    def _tensor(self, start: int, end: int, depth: int, *, top: bool) -> None:
        """Read what a tensor says of itself; its numbers are passed over."""
        elements, size, external, name = 1, 16, False, b""
        for number, wire, value, stop in wire_format.fields(self._data, start, end):
            inner = self._known("tensor", number, wire)
            if number == DIMS:
                sizes = (value,) if wire == VARINT else wire_format.varints(self._data, value, stop)
                for dim in sizes:
                    self._count()
                    elements = self._times(elements, dim)
            elif number == DATA_TYPE:
                size = ELEMENT_BYTES.get(value, 1)
            elif number == NAME:
                name = self._data[value:stop]
            elif number == DATA_LOCATION and value:
                external = True
                if value != EXTERNAL:
                    raise _Refused(f"a tensor's data is in the unknown place {value}")
            elif inner == "external":
                external = True
                self._entry(value, stop)
            elif inner in MESSAGES:
                self._message(inner, value, stop, depth + 1)
        if external and not (top and name in self._given):
            raise _Refused(f"the tensor {name[:80].decode(errors='replace')!r} lies in a file beside it")
        self._bytes += elements * size
        if self._bytes > self._limits.size_bytes:
            raise _Refused(f"its tensors have more than {self._limits.size_bytes} bytes")

    def _times(self, elements: int, dim: int) -> int:
        if dim >> 63:
            raise _Refused("a tensor has a negative size")
        return min(elements * dim, self._limits.size_bytes + 1)

    def _entry(self, start: int, end: int) -> None:
        """Let a tensor be elsewhere only where the engine puts it in: no path, no offset."""
        said: dict[int, bytes] = {}
        for number, wire, value, stop in wire_format.fields(self._data, start, end):
            self._known("external", number, wire)
            said[number] = self._data[value:stop]
        key, place = said.get(1, b""), said.get(2, b"")
        if key != b"length" and (key, place) != (b"location", _PLACE):
            told = f"{key[:40].decode(errors='replace')} {place[:80].decode(errors='replace')!r}"
            raise _Refused(f"a tensor of it lies in a file beside it ({told})")

    def _text(self, start: int, stop: int) -> str:
        return self._data[start : min(stop, start + 80)].decode(errors="replace")
