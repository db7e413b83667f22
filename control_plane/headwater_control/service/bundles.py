"""Use cases around bundles: a model is compiled once for each way in which it is trained."""

from headwater_wire.manifest import Manifest, parse

from headwater_control.core.models import Bundle, Model
from headwater_control.ports import Imported, Unusable
from headwater_control.service.damage import must_be_sound, of_model
from headwater_control.service.errors import Invalid
from headwater_control.service.workspace import workspace
from headwater_control.service.world import World


async def ensure_bundle(world: World, model: Model, training: str) -> None:
    """Compile a model for a way of training, unless that was done before.

    Raises `Invalid` if it can't be, or `Conflict` if the model is damaged.
    """
    async with world.store.read() as tx:
        if await tx.bundles.get(model.name, training) is not None:
            return
    await must_be_sound(world, of_model(model))
    path = world.blobs.path
    with workspace(world.settings.work_dir) as folder:
        try:
            made = await world.offload.compile(path(model.bundle.digest), path(model.graph.digest), training, folder)
        except Unusable as error:
            raise Invalid(str(error)) from error
        _, bundle = await keep_bundle(world, made, training)
    async with world.store.write() as tx:
        await tx.bundles.add(bundle)


async def keep_bundle(world: World, made: Imported, training: str) -> tuple[Manifest, Bundle]:
    """Store what was compiled; its row is the caller's to add."""
    manifest = parse(made.manifest_path.read_bytes())
    files = [await world.blobs.adopt(path) for path in made.blob_paths]
    return manifest, Bundle(manifest.model, training, await world.blobs.put(manifest.to_bytes()), tuple(files))
