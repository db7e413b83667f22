"""Finds what a request names, or says in a sentence that it is not there."""

from headwater_wire import digests
from headwater_wire.ids import ModelName, RunId, VersionId
from headwater_wire.manifest import Manifest, parse

from headwater_control.core.models import Bundle, Model, Version
from headwater_control.core.runs import Run
from headwater_control.ports import Blobs, Transaction
from headwater_control.service.damage import told
from headwater_control.service.errors import Conflict, NotFound


async def find_model(tx: Transaction, name: str) -> Model:
    """Read a model; raise `NotFound` naming those there are."""
    model = await tx.models.get(ModelName(name))
    if model is None:
        known = ", ".join(known.name for known in await tx.models.all()) or "none; import one first"
        raise NotFound(f"there is no model {name[:80]!r} (models: {known})")
    return model


async def find_bundle(tx: Transaction, model: ModelName, training: str) -> Bundle:
    """Read how a model is trained in one way; raise `NotFound`."""
    bundle = await tx.bundles.get(model, training)
    if bundle is None:
        raise NotFound(f"model {model} was never compiled for {training}: start a run with it")
    return bundle


async def find_version(tx: Transaction, version: VersionId) -> Version:
    """Read a version; raise `NotFound`."""
    found = await tx.models.version(version)
    if found is None:
        raise NotFound(f"there is no version {version[:80]!r}: `headwater version list` shows a model's")
    return found


async def find_run(tx: Transaction, run: RunId, *, lock: bool = False) -> Run:
    """Read a run; raise `NotFound`."""
    found = await tx.runs.get(run, lock=lock)
    if found is None:
        raise no_run(run)
    return found


def no_run(run: RunId) -> NotFound:
    """Say that there is no such run, or none for whoever asks."""
    return NotFound(f"there is no run {run[:80]!r}: `headwater run list` shows them")


async def read_manifest(blobs: Blobs, model: Model) -> Manifest:
    """Read a model's bundle; raise `Conflict` if the blobs have lost or damaged it: a flipped bit may parse as well."""
    try:
        data = b"".join([chunk async for chunk in blobs.read(model.bundle.digest)])
    except KeyError:
        data = b""
    if digests.of_bytes(data) != model.bundle:
        raise Conflict(f"{told(f'the bundle of model {model.name}')}, and restore the blobs from a backup")
    return parse(data)
