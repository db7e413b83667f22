"""Use cases around models: import, versions, and what a box installs of one."""

from dataclasses import dataclass
from pathlib import Path

from headwater_wire.errors import Malformed
from headwater_wire.ids import ModelName, VersionId, check_model_name
from headwater_wire.manifest import LOSSES

from headwater_control.core.audit import deed
from headwater_control.core.models import Model, Release, Version
from headwater_control.core.training import PLAIN
from headwater_control.ports import AlreadyExists, Checked, ImportJob, Unusable
from headwater_control.service.authority import must_reach
from headwater_control.service.bundles import keep_bundle
from headwater_control.service.damage import must_be_sound, of_model, of_version
from headwater_control.service.errors import Conflict, Invalid
from headwater_control.service.lookup import find_model, find_version
from headwater_control.service.work import work
from headwater_control.service.workspace import workspace
from headwater_control.service.world import World

_EVERYBODY_S = "models belong to everybody, so ask somebody without such limits to import it"


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
    must_reach((), _EVERYBODY_S)
    model_name = _checked(name)
    _check_loss(loss)
    async with world.store.read() as tx:
        if await tx.models.get(model_name) is not None:
            raise Conflict(f"there is a model {name} already: choose another name")
    with workspace(world.settings.work_dir) as folder:
        try:
            job = ImportJob(onnx_path, folder, model_name, loss, trainable, output)
            made = await world.offload.import_model(job)
        except Unusable as error:
            raise Invalid(str(error)) from error
        parameters = await world.blobs.adopt(made.parameters_path)
        manifest, bundle = await keep_bundle(world, made, PLAIN)
    now = world.clock.now()
    model = Model(model_name, bundle.manifest, manifest.graph, loss, made.elements, now)
    try:
        async with work(world) as unit:
            await unit.tx.models.add(model)
            await unit.tx.bundles.add(bundle)
            version = await unit.tx.models.add_version(
                model_name, parameters, parent=None, run=None, round_number=None, at=now
            )
            unit.deeds.append(deed("model.import", model_name, None, model))
    except AlreadyExists as error:
        raise Conflict(f"somebody imported a model {name} at the same time: choose another name") from error
    return ImportedModel(model, version, made.notes)


async def check_model(
    world: World, onnx_path: Path, *, loss: str, trainable: tuple[str, ...] = (), output: str = "", batch_size: int = 32
) -> Checked:
    """Say what training an ONNX file would take; nothing is kept. Raises `Invalid` as an import would."""
    _check_loss(loss)
    with workspace(world.settings.work_dir) as folder:
        try:
            job = ImportJob(onnx_path, folder, ModelName("model"), loss, trainable, output)
            return await world.offload.check_model(job, batch_size)
        except Unusable as error:
            raise Invalid(str(error)) from error


async def list_models(world: World) -> tuple[Model, ...]:
    """List the models by name."""
    async with world.store.read() as tx:
        return await tx.models.all()


async def show_model(world: World, name: str) -> Model:
    """Show one; raise `NotFound`."""
    async with world.store.read() as tx:
        return await find_model(tx, name)


async def versions(world: World, model: str) -> tuple[Version, ...]:
    """List a model's versions, oldest first; raise `NotFound`."""
    async with world.store.read() as tx:
        return await tx.models.versions((await find_model(tx, model)).name)


async def show_version(world: World, version: VersionId) -> Version:
    """Show one; raise `NotFound`."""
    async with world.store.read() as tx:
        return await find_version(tx, version)


async def import_version(world: World, model: str, source_path: Path) -> Version:
    """Take in centrally retrained parameters (safetensors, npz or ONNX).

    Raises `NotFound`, `Invalid`, or `Conflict` if the model's bundle is damaged.
    """
    must_reach((), _EVERYBODY_S)
    async with world.store.read() as tx:
        known = await find_model(tx, model)
    await must_be_sound(world, of_model(known))
    with workspace(world.settings.work_dir) as folder:
        out_path = folder / "parameters.safetensors"
        try:
            await world.offload.import_version(world.blobs.path(known.bundle.digest), source_path, out_path)
        except Unusable as error:
            raise Invalid(str(error)) from error
        parameters = await world.blobs.adopt(out_path)
    async with work(world) as unit:
        version = await unit.tx.models.add_version(
            known.name, parameters, parent=None, run=None, round_number=None, at=world.clock.now()
        )
        unit.deeds.append(deed("version.import", version.id, None, version))
    return version


async def release(world: World, version: VersionId) -> Release:
    """Give what a box installs of a version (blobs), composed the first time.

    Raises `NotFound`, or `Conflict` if what it is composed of is damaged: it would be released under a digest of its
    own, and nobody could tell any more.
    """
    async with world.store.read() as tx:
        found = await find_version(tx, version)
        model = await find_model(tx, found.model)
    if found.release is not None:
        return found.release
    await must_be_sound(world, of_model(model) | of_version(found))
    path = world.blobs.path
    with workspace(world.settings.work_dir) as folder:
        onnx_path, reference_path = await world.offload.compose(
            path(model.bundle.digest), path(model.graph.digest), path(found.parameters.digest), folder
        )
        made = Release(await world.blobs.adopt(onnx_path), await world.blobs.adopt(reference_path))
    async with world.store.write() as tx:
        await tx.models.set_release(version, made)
    return made


def _check_loss(loss: str) -> None:
    if (kind := loss.partition(":")[0]) not in LOSSES:
        raise Invalid(f"there is no loss {kind[:80]!r}: choose one of {', '.join(LOSSES)}")


def _checked(name: str) -> ModelName:
    try:
        return check_model_name(name)
    except Malformed as error:
        raise Invalid(str(error)) from error
