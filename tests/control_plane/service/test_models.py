"""Models in, versions in and out."""

from pathlib import Path

import pytest
from headwater_control.service import models
from headwater_control.service.bundles import ensure_bundle
from headwater_control.service.errors import Conflict, Invalid, NotFound
from headwater_control.service.lookup import read_manifest
from headwater_control.service.world import World
from headwater_wire.ids import VersionId

from tests.fakes.offload import BAD, FakeOffload
from tests.fakes.world import flip, read_blob


def written(path: Path, data: bytes) -> Path:
    """Write a file."""
    path.write_bytes(data)
    return path


async def test_an_import_stores_bundle_graph_and_first_version(world: World, tmp_path: Path) -> None:
    """All three are blobs; the first version has no parent; the notes are passed on."""
    path = written(tmp_path / "m.onnx", b"another graph")
    imported = await models.import_model(world, "faults", path, loss="mse")
    assert await read_blob(world, imported.model.graph) == b"another graph"
    assert await read_blob(world, imported.version.parameters) == b"imported\n"
    assert (imported.version.id, imported.version.parent, imported.notes) == ("faults-1", None, ("everything trains",))
    assert [model.name for model in await models.list_models(world)] == ["digits", "faults"]
    assert await models.show_model(world, "faults") == imported.model
    assert list(world.settings.work_dir.iterdir()) == []


async def test_a_graph_that_cannot_be_trained_is_refused_in_its_own_words(world: World, tmp_path: Path) -> None:
    """The sentence of the import reaches the operator, and no model is there."""
    path = written(tmp_path / "m.onnx", BAD)
    with pytest.raises(Invalid, match=r"node 3 \(LRN\) can't be trained"):
        await models.import_model(world, "faults", path, loss="mse")
    with pytest.raises(NotFound, match=r"there is no model 'faults' \(models: digits\)"):
        await models.show_model(world, "faults")


async def test_names_and_losses_are_checked_first(world: World, tmp_path: Path) -> None:
    """A taken name, an impossible one and an unknown loss are refused before any work."""
    path = written(tmp_path / "m.onnx", b"graph")
    with pytest.raises(Conflict, match="there is a model digits already"):
        await models.import_model(world, "digits", path, loss="mse")
    with pytest.raises(Invalid, match="is not a name"):
        await models.import_model(world, "../digits", path, loss="mse")
    with pytest.raises(Invalid, match="there is no loss 'hinge': choose one of cross_entropy"):
        await models.import_model(world, "faults", path, loss="hinge")


async def test_retrained_parameters_become_the_next_version(world: World, tmp_path: Path) -> None:
    """They are numbered on; unusable ones are refused with the reason."""
    version = await models.import_version(world, "digits", written(tmp_path / "w.npz", b"retrained\n"))
    assert (version.id, await read_blob(world, version.parameters)) == ("digits-2", b"retrained\n")
    with pytest.raises(Invalid, match="parameter w is missing"):
        await models.import_version(world, "digits", written(tmp_path / "w.npz", BAD))
    assert [version.number for version in await models.versions(world, "digits")] == [1, 2]


async def test_a_release_is_composed_once(world: World) -> None:
    """The second time it is read."""
    first = await models.release(world, VersionId("digits-1"))
    assert await models.release(world, VersionId("digits-1")) == first
    assert isinstance(world.offload, FakeOffload)
    assert world.offload.composed == 1
    assert await read_blob(world, first.onnx) == b"a graph\nimported\n"
    with pytest.raises(NotFound, match="there is no version 'digits-9'"):
        await models.release(world, VersionId("digits-9"))


@pytest.mark.parametrize("part", ["bundle", "graph", "version"])
async def test_a_flipped_bit_is_composed_into_no_release(world: World, part: str) -> None:
    """It would be released under a digest of its own, and believed by every box; once it is back, all goes on."""
    model, version = await models.show_model(world, "digits"), await models.show_version(world, VersionId("digits-1"))
    blob = {"bundle": model.bundle, "graph": model.graph, "version": version.parameters}[part]
    whole = flip(world, blob)
    named = {
        "bundle": "the bundle of model digits",
        "graph": "the graph of model digits",
        "version": "version digits-1",
    }
    with pytest.raises(Conflict, match=f"the control plane's disk has damaged or lost {named[part]}: look after that"):
        await models.release(world, version.id)
    await world.blobs.put(whole)
    assert (await models.release(world, version.id)).onnx.size


async def test_a_damaged_bundle_takes_no_parameters_and_is_not_read(world: World, tmp_path: Path) -> None:
    """Neither to say what an import must have, nor to compile another way of training, nor to say who can train."""
    model = await models.show_model(world, "digits")
    flip(world, model.bundle)
    with pytest.raises(Conflict, match="damaged or lost the bundle of model digits"):
        await models.import_version(world, "digits", written(tmp_path / "w.npz", b"retrained\n"))
    with pytest.raises(Conflict, match="damaged or lost the bundle of model digits"):
        await ensure_bundle(world, model, "adam")
    with pytest.raises(Conflict, match="damaged or lost the bundle of model digits"):
        await read_manifest(world.blobs, model)
    await world.blobs.delete(model.bundle.digest)
    with pytest.raises(Conflict, match="damaged or lost the bundle of model digits"):
        await read_manifest(world.blobs, model)
