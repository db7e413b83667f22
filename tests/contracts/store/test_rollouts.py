"""What every store promises of rollouts and deployments."""

from dataclasses import replace

import pytest
from headwater_control.core.rollout import DeploymentState, RolloutState
from headwater_control.ports import AlreadyExists, Store, Transaction
from headwater_wire.ids import DeviceId, ModelName, RolloutId

from tests.support.rows import BOX, DIGITS, ROLLOUT, add_model, deployment, device, later, rollout


async def add_fleet(tx: Transaction) -> None:
    """Add what rollouts refer to."""
    for name in ("box-1", "box-2"):
        await tx.devices.save(device(name))
    await add_model(tx)
    await add_model(tx, "other")


async def test_rollouts_list_oldest_first(store: Store) -> None:
    """All, or one model's."""
    rollouts = [rollout("c", 1, at=later(1)), rollout("b", 2, at=later(2)), rollout("a", 1, "other", later(3))]
    async with store.write() as tx:
        await add_fleet(tx)
        for each in rollouts:
            await tx.rollouts.add(each, ())
        done = replace(rollouts[0], state=RolloutState.COMPLETED, labels=(("site", "north"),))
        await tx.rollouts.save(done)
    async with store.read() as tx:
        assert await tx.rollouts.all() == (done, *rollouts[1:])
        assert await tx.rollouts.all(DIGITS) == (done, rollouts[1])
        assert await tx.rollouts.get(RolloutId("b")) == rollouts[1]
        assert await tx.rollouts.get(RolloutId("nobody")) is None


async def test_a_generation_is_one_rollouts(store: Store) -> None:
    """Of two rollouts started at the same time with the same generation, the second is refused, whole."""
    async with store.write() as tx:
        await add_fleet(tx)
        await tx.rollouts.add(rollout(), ())
    async with store.write() as tx:
        for taken in (rollout("rollout-2"), rollout(generation=2)):
            with pytest.raises(AlreadyExists):
                await tx.rollouts.add(taken, [deployment(taken)])
        await tx.rollouts.add(rollout("rollout-2", 2), ())
        assert await tx.rollouts.deployments(RolloutId("rollout-2")) == ()
        with pytest.raises(KeyError):
            await tx.rollouts.save(rollout("nobody"))


async def test_deployments_list_by_device_and_are_replaced(store: Store) -> None:
    """One for each device of a rollout."""
    async with store.write() as tx:
        await add_fleet(tx)
        await tx.rollouts.add(rollout(), [deployment(rollout(), "box-2"), deployment(rollout())])
        failed = replace(
            deployment(rollout()), state=DeploymentState.FAILED, problem="outputs differ", updated_at=later(1)
        )
        await tx.rollouts.save_deployment(failed)
    async with store.read() as tx:
        assert await tx.rollouts.deployments(ROLLOUT) == (failed, deployment(rollout(), "box-2"))
        assert await tx.rollouts.deployments(RolloutId("nobody")) == ()


async def test_a_deployment_belongs_to_a_rollout_and_a_device(store: Store) -> None:
    """Of those that are not there: KeyError."""
    async with store.write() as tx:
        await add_fleet(tx)
        await tx.rollouts.add(rollout(), ())
    for stray in (deployment(rollout("nobody")), deployment(rollout(), "nobody")):
        with pytest.raises(KeyError):
            async with store.write() as tx:
                await tx.rollouts.save_deployment(stray)


async def test_a_device_should_have_the_highest_generation_of_each_model(store: Store) -> None:
    """Whatever its state, and whenever it was added."""
    newest, older, other = rollout("a", 10), rollout("b", 9), rollout("c", 1, "other")
    async with store.write() as tx:
        await add_fleet(tx)
        await tx.rollouts.add(newest, [replace(deployment(newest), state=DeploymentState.INSTALLED)])
        await tx.rollouts.add(older, [deployment(older), deployment(older, "box-2")])
        await tx.rollouts.add(other, [deployment(other)])
    async with store.read() as tx:
        assert await tx.rollouts.desired(BOX) == (
            replace(deployment(newest), state=DeploymentState.INSTALLED),
            deployment(other),
        )
        assert await tx.rollouts.desired(DeviceId("box-2")) == (deployment(older, "box-2"),)
        assert await tx.rollouts.desired(DeviceId("nobody")) == ()
        assert [found.model for found in await tx.rollouts.desired(BOX)] == [DIGITS, ModelName("other")]
