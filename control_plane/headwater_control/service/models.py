"""Use cases around models: import, versions, and what a box installs of one."""

from dataclasses import dataclass
from pathlib import Path

from headwater_wire.ids import ModelName, VersionId

from headwater_control.core.models import Model, Release, Version
from headwater_control.service.world import World


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A new model with its first version, and what the import found worth telling."""

    model: Model
    version: Version
    notes: tuple[str, ...]


async def import_model(
    world: World,
    name: str,
    onnx_path: Path,
    *,
    loss: str,
    trainable: tuple[str, ...] = (),
    output: str = "",
) -> ImportedModel:
    """Make a model of an ONNX file. Raises `Invalid` (why it can't be trained, and what to do) or `Conflict`."""
    raise NotImplementedError


async def list_models(world: World) -> tuple[Model, ...]:
    """List the models by name."""
    raise NotImplementedError


async def show_model(world: World, name: str) -> Model:
    """Show one; raise `NotFound`."""
    raise NotImplementedError


async def versions(world: World, model: str) -> tuple[Version, ...]:
    """List a model's versions, oldest first; raise `NotFound`."""
    raise NotImplementedError


async def show_version(world: World, version: VersionId) -> Version:
    """Show one; raise `NotFound`."""
    raise NotImplementedError


async def import_version(world: World, model: str, source_path: Path) -> Version:
    """Take in centrally retrained parameters (safetensors, npz or ONNX); raise `NotFound` or `Invalid`."""
    raise NotImplementedError


async def release(world: World, version: VersionId) -> Release:
    """Give what a box installs of a version (blobs), composed the first time; raise `NotFound`."""
    raise NotImplementedError
