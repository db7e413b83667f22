"""What the control plane's own disk has done to blobs: they are read whole before they are built upon or handed out."""

from collections.abc import Mapping

from headwater_wire.ids import Digest

from headwater_control.core.models import Bundle, Model, Version
from headwater_control.service.errors import Conflict
from headwater_control.service.world import World

Named = Mapping[Digest, str]  # what a blob is, for a person


def told(what: str) -> str:
    """Say that something is damaged or lost."""
    return f"the control plane's disk has damaged or lost {what}: look after that disk"


async def damage(world: World, named: Named) -> str:
    """Say what is not as it was stored; "" if all is. To hash takes a second for a gigabyte."""
    damaged = await world.blobs.damaged(named)
    return told(", ".join(sorted({named[digest] for digest in damaged}))) if damaged else ""


async def must_be_sound(world: World, named: Named) -> None:
    """Raise `Conflict` unless all is as it was stored."""
    if problem := await damage(world, named):
        raise Conflict(f"{problem}, and restore the blobs from a backup")


def of_model(model: Model) -> dict[Digest, str]:
    """Name what a model was imported as."""
    return {
        model.bundle.digest: f"the bundle of model {model.name}",
        model.graph.digest: f"the graph of model {model.name}",
    }


def of_bundle(bundle: Bundle) -> dict[Digest, str]:
    """Name what a model is trained with."""
    return dict.fromkeys(
        (blob.digest for blob in (bundle.manifest, *bundle.files)), f"the bundle of model {bundle.model}"
    )


def of_version(version: Version) -> dict[Digest, str]:
    """Name a version's parameters."""
    return {version.parameters.digest: f"version {version.id}"}
