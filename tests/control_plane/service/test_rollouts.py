"""A version on its way to the boxes."""

import pytest
from headwater_control.core.rollout import DeploymentState, RolloutState
from headwater_control.ports import Deploy
from headwater_control.service import deltas, models, rollouts
from headwater_control.service.deployments import settle
from headwater_control.service.errors import Conflict, Invalid, NotFound
from headwater_control.service.world import World
from headwater_wire.ids import ModelName, RolloutId, VersionId
from headwater_wire.messages import DeploymentReport

from tests.fakes.publisher import FakePublisher
from tests.fakes.world import Box

V1 = VersionId("digits-1")


def report(generation: int, *, installed: bool = True, problem: str = "") -> DeploymentReport:
    """Say how an install ended."""
    return DeploymentReport(RolloutId("any"), ModelName("digits"), generation, installed, problem)


async def states(world: World, rollout: RolloutId) -> list[DeploymentState]:
    """List the deployments' states, by device."""
    return [record.state for record in (await rollouts.show(world, rollout)).deployments]


async def test_a_rollout_reaches_every_matching_device_and_completes(world: World) -> None:
    """Each is told by message and by Sync; when none is pending it is COMPLETED."""
    boxes = [await Box(world, name, {"site": "a"}).register() for name in ("box-1", "box-2")]
    await Box(world, "elsewhere").register()
    rollout = await rollouts.start(world, V1, (("site", "a"),))
    assert isinstance(world.publisher, FakePublisher)
    told = world.publisher.to(boxes[0].id)[-1]
    answer = await boxes[0].sync()
    assert told == Deploy(boxes[0].id, answer.revision, answer.deployments[0])
    release = await models.release(world, V1)
    await deltas.may_fetch(world, boxes[0].id, release.onnx.digest)
    await boxes[0].sync(deployments=(report(1),))
    await settle(world)
    assert (await rollouts.show(world, rollout.id)).rollout.state is RolloutState.RUNNING
    await boxes[1].sync(deployments=(report(1, installed=False, problem="the outputs differ by 0.5"),))
    await settle(world)
    view = await rollouts.show(world, rollout.id)
    assert view.rollout.state is RolloutState.COMPLETED
    assert dict(view.counts) == {
        DeploymentState.PENDING: 0,
        DeploymentState.INSTALLED: 1,
        DeploymentState.FAILED: 1,
        DeploymentState.SUPERSEDED: 0,
    }
    assert view.deployments[1].problem == "the outputs differ by 0.5"
    assert (await rollouts.list_rollouts(world))[0].state is RolloutState.COMPLETED


async def test_the_list_says_what_the_one_says(world: World) -> None:
    """Also between the last box's report and the moment the coordinator writes the end down."""
    box = await Box(world, "box-1").register()
    rollout = await rollouts.start(world, V1)
    assert (await rollouts.list_rollouts(world))[0].state is RolloutState.RUNNING
    await box.sync(deployments=(report(1),))
    shown = (await rollouts.show(world, rollout.id)).rollout
    assert shown.state is RolloutState.COMPLETED
    assert await rollouts.list_rollouts(world) == (shown,)


async def test_a_wiped_box_is_told_again_and_a_failed_one_is_not(world: World) -> None:
    """What is installed stays desired; what failed there is not asked for again."""
    good, bad = await Box(world, "good").register(), await Box(world, "bad").register()
    await rollouts.start(world, V1)
    await good.sync(deployments=(report(1),))
    await bad.sync(deployments=(report(1, installed=False, problem="no"),))
    assert len((await good.sync()).deployments) == 1
    assert len((await bad.sync()).deployments) == 0


async def test_a_newer_rollout_supersedes_what_is_pending(world: World) -> None:
    """A report of the older generation then changes nothing, and the older rollout is over."""
    box = await Box(world, "box-1").register()
    first = await rollouts.start(world, V1)
    second = await rollouts.start(world, V1)
    assert second.generation == 2
    await box.sync(deployments=(report(1),))
    await settle(world)
    assert await states(world, first.id) == [DeploymentState.SUPERSEDED]
    assert await states(world, second.id) == [DeploymentState.PENDING]
    assert (await rollouts.show(world, first.id)).rollout.state is RolloutState.CANCELLED
    assert [deployment.generation for deployment in (await box.sync()).deployments] == [2]


async def test_a_newcomer_joins_the_newest_running_rollout(world: World) -> None:
    """A device that registers while a rollout runs gets it too, once, if its labels match."""
    await Box(world, "box-1", {"site": "a"}).register()
    rollout = await rollouts.start(world, V1, (("site", "a"),))
    newcomer = await Box(world, "box-2", {"site": "a"}).register()
    await newcomer.register()
    stranger = await Box(world, "box-3", {"site": "b"}).register()
    assert len(await states(world, rollout.id)) == 2
    assert len((await newcomer.sync()).deployments) == 1
    assert len((await stranger.sync()).deployments) == 0


async def test_cancelling_takes_back_what_is_pending(world: World) -> None:
    """Installed ones stay; the others no longer desire it; a completed rollout can't be cancelled."""
    done, slow = await Box(world, "done").register(), await Box(world, "slow").register()
    rollout = await rollouts.start(world, V1)
    await done.sync(deployments=(report(1),))
    for _ in range(2):
        assert (await rollouts.cancel(world, rollout.id)).state is RolloutState.CANCELLED
    assert (await slow.sync()).deployments == ()
    other = await rollouts.start(world, V1)
    for box in (done, slow):
        await box.sync(deployments=(report(2),))
    with pytest.raises(Conflict, match="has completed"):
        await rollouts.cancel(world, other.id)


async def test_a_rollout_needs_a_version_and_a_device(world: World) -> None:
    """Both are named when they are missing."""
    with pytest.raises(NotFound, match="there is no version 'digits-7'"):
        await rollouts.start(world, VersionId("digits-7"))
    with pytest.raises(Invalid, match="no registered device has site=a"):
        await rollouts.start(world, V1, (("site", "a"),))
    with pytest.raises(NotFound, match="there is no rollout 'x'"):
        await rollouts.show(world, RolloutId("x"))
