"""Work too heavy for the event loop, done in child processes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headwater_wire.ids import ModelName


@dataclass(frozen=True, slots=True)
class ImportJob:
    """Turn an ONNX file into a bundle. `trainable` are name patterns (fnmatch); none: everything that can train."""

    onnx_path: Path
    out_dir: Path
    model: ModelName
    loss: str
    trainable: tuple[str, ...]
    output: str = ""  # which graph output the loss reads; "": the only one


@dataclass(frozen=True, slots=True)
class Imported:
    """Files in `out_dir`, and what is worth telling."""

    manifest_path: Path
    parameters_path: Path  # safetensors: the first version
    blob_paths: tuple[Path, ...]  # what the manifest names, each under its digest
    elements: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A parameter, or a constant like one, and why it is frozen if it is."""

    name: str
    shape: tuple[int, ...]
    trains: bool
    why: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What training a model takes on a device: bytes, and a step's seconds measured here on one thread."""

    rows: tuple[CheckedRow, ...]
    elements: int
    delta_bytes: int
    batch_size: int
    parameter_bytes: int
    adam_bytes: int
    activation_bytes: int
    step_s: float
    small_bytes: int
    small_step_s: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MergeJob:
    """Fold deltas, in this order, into the base."""

    strategy: str
    base_path: Path
    deltas: tuple[tuple[Path, int], ...]  # (file, examples)
    codec: str
    out_path: Path  # safetensors: the new version


class Offload(Protocol):
    """What is too heavy for the event loop. Bad input raises `Unusable` with a sentence for a person."""

    async def import_model(self, job: ImportJob) -> Imported:
        """Check, make the bundle, and prove once that it trains."""

    async def check_model(self, job: ImportJob, batch_size: int) -> Checked:
        """Do as an import would, take some steps, and say what it takes."""

    async def compile(self, manifest: Path, graph: Path, training: str, out_dir: Path) -> Imported:
        """Make a model's bundle for another way of training: its manifest and blobs; there are no new parameters."""

    async def import_version(self, manifest: Path, source: Path, out_path: Path) -> None:
        """Turn centrally retrained parameters (safetensors, npz or ONNX, by name) into a version's file."""

    async def compose(self, manifest: Path, graph: Path, parameters: Path, out_dir: Path) -> tuple[Path, Path]:
        """Make (model.onnx, reference.safetensors) of a version."""

    async def check_delta(self, path: Path, codec: str, elements: int) -> None:
        """Look a staged delta over: length, and every value finite."""

    async def merge(self, job: MergeJob) -> None:
        """Write the merged version to job.out_path, not yet synced."""


class Unusable(Exception):
    """Input that can't be worked with: the message says why and what to do."""


class OffloadFailed(Exception):
    """The work did not get done though its input may be good: no disk, no memory, no time. May be tried again."""
