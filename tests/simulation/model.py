"""The one model of these worlds: eight numbers. Training draws: only the machinery around it counts."""

import struct
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from headwater_wire import codecs, digests, tensors
from headwater_wire.ids import ModelName
from headwater_wire.manifest import Loss, Manifest, Parameter, TensorSpec
from headwater_wire.messages import Blob, Column, DatasetCard

from tests.support.steps import EVALUATION, TRAIN, UNREAD

NAME = ModelName("digits")
DATASET = "digits"
ELEMENTS = 8
Vector = tuple[float, ...]
_PARAMETER = Parameter("w", (ELEMENTS,), 0)


def card(examples: int) -> DatasetCard:
    """Describe a box's dataset."""
    return DatasetCard(DATASET, examples, (Column("x", "float32", (4,)), Column("label", "int64", ())))


def write_bundle(graph: bytes, folder: Path) -> tuple[Path, Path, tuple[Path, ...]]:
    """Write what an import makes: manifest, parameters, graphs."""
    manifest = Manifest(
        model=NAME,
        graph=digests.of_bytes(graph),
        inputs=(TensorSpec("x", "float32", (4,)),),
        outputs=(TensorSpec("logits", "float32", (2,)),),
        loss=Loss("cross_entropy", "logits", TensorSpec("label", "int64", ())),
        parameters=(_PARAMETER,),
        frozen=(),
        step=UNREAD,
    )
    places = folder / "manifest.json", folder / "parameters.safetensors"
    places[0].write_bytes(manifest.to_bytes())
    tensors.write_vector(places[1], (_PARAMETER,), np.array([place / 4 for place in range(ELEMENTS)], np.float32))
    blobs = tuple(folder / digests.of_bytes(data).digest for data in (graph, TRAIN, EVALUATION))
    for place, data in zip(blobs, (graph, TRAIN, EVALUATION), strict=True):
        place.write_bytes(data)
    return *places, blobs


def write_delta(path: Path, vector: Vector) -> Blob:
    """Write a delta's file."""
    codecs.write_delta(path, np.array(vector, np.float32))
    return digests.of_file(path)


def drawn(*words: str) -> Vector:
    """Draw a delta that words decide: float32 numbers in [-1, 1)."""
    raw = b"".join(sha256(f"{' '.join(words)} {n}".encode()).digest()[:4] for n in range(ELEMENTS))
    return tuple(float(np.float32(n / 2**31 - 1)) for n in struct.unpack(f"<{ELEMENTS}I", raw))


def numbers(version_file: bytes) -> Vector:
    """Read a version's numbers: the last bytes of a safetensors file of one tensor."""
    return struct.unpack(f"<{ELEMENTS}f", version_file[-4 * ELEMENTS :])


def averaged(base: Sequence[float], deltas: Sequence[tuple[Vector, int]]) -> Vector:
    """Fold deltas into a base by FedAvg, written down from the paper and nothing else (arXiv 1602.05629)."""
    total = sum(examples for _, examples in deltas)
    return tuple(
        number + sum(delta[place] * examples for delta, examples in deltas) / total for place, number in enumerate(base)
    )


def composed(graph: bytes, parameters: bytes) -> tuple[bytes, bytes]:
    """Make what a box installs, and its reference."""
    onnx = graph + parameters
    return onnx, b"reference of " + digests.of_bytes(onnx).digest.encode()
