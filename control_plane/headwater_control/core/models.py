"""What the control plane knows of a model and its versions."""

from dataclasses import dataclass
from datetime import datetime

from headwater_wire.ids import ModelName, RunId, VersionId
from headwater_wire.messages import Blob


@dataclass(frozen=True, slots=True)
class Model:
    """An imported ONNX graph: its bundle is the blob of the manifest for plain training, which names the graph's."""

    name: ModelName
    bundle: Blob
    graph: Blob
    loss: str
    elements: int  # trainable numbers: the length of the flat vector
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Bundle:
    """How a model is trained in one way (`core.training`): the manifest's blob, and those it names."""

    model: ModelName
    training: str
    manifest: Blob
    files: tuple[Blob, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """What a box installs: composed once per version, when it is first exported or rolled out."""

    onnx: Blob
    reference: Blob


@dataclass(frozen=True, slots=True)
class Version:
    """One set of a model's parameters (a safetensors blob), with its origin."""

    id: VersionId
    model: ModelName
    number: int
    parameters: Blob
    parent: VersionId | None
    run: RunId | None  # None: imported
    round: int | None
    created_at: datetime
    release: Release | None = None
