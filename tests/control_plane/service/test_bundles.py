"""A model is compiled once for each way of training, and a task carries the bundle of its run's way."""

import pytest
from headwater_control.core.runs import RunSpec
from headwater_control.service import deltas, runs
from headwater_control.service.errors import Invalid, NotFound
from headwater_control.service.world import World
from headwater_wire import manifest

from tests.control_plane.service.driver import step
from tests.fakes.offload import FakeOffload
from tests.fakes.world import MODEL, Box, read_blob


async def test_a_run_with_another_optimizer_gets_its_own_graphs(world: World) -> None:
    """The devices that are asked fetch those, and no other run's."""
    box = await Box(world, "box-1").register()
    for optimizer in ("sgd", "adam"):
        run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1, optimizer=optimizer, clip_norm=0.5))
        await step(world, run.id)
    tasks = (await box.sync()).tasks
    bundles = [manifest.parse(await read_blob(world, task.bundle)) for task in tasks]
    assert [bundle.step.optimizer for bundle in bundles] == ["sgd", "adam"]
    assert bundles[0].graph == bundles[1].graph
    for bundle in bundles:
        assert await deltas.may_fetch(world, box.id, bundle.step.train.digest)
    await runs.cancel(world, tasks[1].run)
    with pytest.raises(NotFound):
        await deltas.may_fetch(world, box.id, bundles[1].step.train.digest)


async def test_what_was_compiled_once_is_not_compiled_again(world: World) -> None:
    """Nor is the plain way, which the import has done; and no sweep deletes it."""
    assert isinstance(world.offload, FakeOffload)
    await Box(world, "box-1").register()
    for _ in range(2):
        await runs.start(world, RunSpec(MODEL, "digits"))
        await runs.start(world, RunSpec(MODEL, "digits", optimizer="adam", proximal=0.1))
    assert world.offload.compiled == ["adam+proximal"]
    async with world.store.read() as tx:
        bundle = await tx.bundles.get(MODEL, "adam+proximal")
        assert bundle and {blob.digest for blob in (bundle.manifest, *bundle.files)} <= await tx.live_blobs()


@pytest.mark.parametrize("wrong", [{"optimizer": "lamb"}, {"momentum": 1.0}, {"clip_norm": -1.0}])
async def test_what_no_optimizer_can_do_is_refused(world: World, wrong: dict[str, object]) -> None:
    """Before there is a run."""
    with pytest.raises(Invalid, match=next(iter(wrong))):
        await runs.start(world, RunSpec(MODEL, "digits", **wrong))  # type: ignore[arg-type]
    assert await runs.list_runs(world) == ()
