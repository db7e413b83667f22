"""Deltas, versions, manifests and blobs in chunks: nothing but a `WireError` comes out of what opens them.

What a file claims to hold is not allocated before it is known to be there: memory is measured by who runs this.
"""

import json
import random
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from headwater_wire import chunks, codecs, floats, manifest, tensors
from headwater_wire.codecs.header import Header
from headwater_wire.errors import WireError
from headwater_wire.ids import Digest, ModelName
from headwater_wire.messages import Blob

from tests.fuzzing.damage import damaged
from tests.fuzzing.trees import twisted

_ELEMENTS = 6
_BLOB = Blob(Digest("0" * 64), 3)
_TENSOR = manifest.TensorSpec("x", "float32", (4,))
_MANIFEST = manifest.Manifest(
    model=ModelName("digits"),
    graph=_BLOB,
    inputs=(_TENSOR,),
    outputs=(manifest.TensorSpec("y", "float32", (3,)),),
    loss=manifest.Loss("cross_entropy", "y", manifest.TensorSpec("label", "int64", ()), classes=3, weights=(1.0, 2.0)),
    parameters=(manifest.Parameter("w", (2, 2), 0), manifest.Parameter("b", (2,), 4)),
    frozen=("f",),
    step=manifest.Step(_BLOB, _BLOB, _BLOB, _BLOB, _BLOB, "adam", ("m", "v"), ("lr",)),
    frozen_digests=(Digest("1" * 64),),
)
_TREE = {"format": manifest.FORMAT, **asdict(_MANIFEST)}
_HEADER = {
    "w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    "n": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]},
    "__metadata__": {"a": "b"},
}


class Files:
    """An input begins with the number of its kind (one byte)."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "file"
        self._kinds: tuple[tuple[Callable[[random.Random], bytes], Callable[[bytes], None]], ...] = (
            (_delta, self._open_delta),
            (_version, self._open_version),
            (_tensors, self._read_tensors),
            (lambda source: twisted(_TREE, source), _parse_manifest),
            (lambda source: source.randbytes(source.randrange(80)), _receive),
        )

    def make(self, source: random.Random) -> bytes:
        """Make one of each kind in turn, mostly damaged so that it is read far before it is refused."""
        number = source.randrange(len(self._kinds))
        data = self._kinds[number][0](source) if source.random() < 0.95 else source.randbytes(source.randrange(100))
        return bytes((number,)) + data

    def check(self, data: bytes) -> str:
        """Open it, and read all that is in it."""
        try:
            self._kinds[data[0] % len(self._kinds)][1](data[1:])
        except WireError as error:
            if not str(error):
                raise AssertionError("it is refused without a reason") from error
            return type(error).__name__.lower()
        return "accepted"

    def _open_delta(self, data: bytes) -> None:
        self._path.write_bytes(data)
        with codecs.open_delta(self._path, "f32", _ELEMENTS) as delta:
            floats.check_finite(delta, "it")

    def _open_version(self, data: bytes) -> None:
        self._path.write_bytes(data)
        with tensors.open_vector(self._path) as vector:
            if vector.load().nbytes > len(data):
                raise AssertionError("more numbers than the file has")

    def _read_tensors(self, data: bytes) -> None:
        self._path.write_bytes(data)
        found = tensors.read_tensors(self._path)
        if sum(array.nbytes for array in found.values()) > len(data):
            raise AssertionError("more numbers than the file has")


def _delta(source: random.Random) -> bytes:
    header = Header(
        source.choice(("f32", "f32", "f32", "f64")), source.choice((_ELEMENTS, _ELEMENTS, 0, (1 << 63) - 1))
    )
    head = header.to_bytes()
    if source.random() < 0.5:
        fields = damaged(head[:60], source)[:60].ljust(60, b"\0")
        head = fields + zlib.crc32(fields).to_bytes(4, "little")
    numbers = np.array([source.choice((0.0, 1.5, 1e38, np.nan, np.inf)) for _ in range(_ELEMENTS)], np.float32)
    data = head + numbers.tobytes()
    return damaged(data, source) if source.random() < 0.3 else data


def _version(source: random.Random) -> bytes:
    tree = {name: entry for name, entry in _HEADER.items() if name != "n"}
    return _safetensors(tree, 24, source)


def _tensors(source: random.Random) -> bytes:
    return _safetensors(_HEADER, 32, source)


def _safetensors(tree: object, size: int, source: random.Random) -> bytes:
    text = twisted(tree, source) if source.random() < 0.9 else json.dumps(tree).encode()
    length = len(text) if source.random() < 0.9 else source.choice((0, 1 << 24, 1 << 40, (1 << 64) - 1))
    data = length.to_bytes(8, "little") + text + source.randbytes(size + source.choice((0, 0, 0, 0, -1, 1, 8)))
    return damaged(data, source) if source.random() < 0.1 else data


def _parse_manifest(data: bytes) -> None:
    found = manifest.parse(data)
    if repr(manifest.parse(found.to_bytes())) != repr(found):
        raise AssertionError(f"{found!r} is read back otherwise")


def _receive(data: bytes) -> None:
    """Take the first byte for the announced size, and the rest in chunks of odd sizes."""
    receiver = chunks.Receiver(Blob(Digest("0" * 64), data[0] if data else 0))
    at = 1
    while at < len(data):
        receiver.feed(data[at : at + 7])
        if receiver.offset > receiver.announced.size:
            raise AssertionError("it took more than was announced")
        at += 7
    receiver.finish()
