"""What goes into a store comes out of it, to the last bit: a property of every record."""

import pytest
from headwater_control.core.fleet import Device
from headwater_control.core.models import Model, Release
from headwater_control.core.rollout import DeploymentRecord, Rollout
from headwater_control.core.runs import Round, Run, TaskRecord
from headwater_control.ports import Store
from hypothesis import HealthCheck, given, settings

from tests.support import records
from tests.support.rows import BOX, FIRST, ROLLOUT, RUN, add_model, add_training, deployment, rollout, run


class RolledBack(Exception):
    """Ends a transaction, so that each example begins with an empty store."""


# One store for all examples of a test: each rolls back what it did.
each_rolls_back = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@each_rolls_back
@given(records.devices)
async def test_a_device_comes_back(store: Store, device: Device) -> None:
    """Whole, inserted or replaced, alone or listed."""
    with pytest.raises(RolledBack):
        async with store.write() as tx:
            await tx.devices.save(Device(device.id, device.registered_at))
            await tx.devices.save(device)
            assert await tx.devices.get(device.id) == device
            assert await tx.devices.matching(device.labels) == (device,)
            raise RolledBack


@each_rolls_back
@given(records.models, records.releases)
async def test_a_model_and_a_release_come_back(store: Store, model: Model, release: Release) -> None:
    """Whole."""
    with pytest.raises(RolledBack):
        async with store.write() as tx:
            await tx.models.add(model)
            assert await tx.models.get(model.name) == model
            await add_model(tx)
            await tx.models.set_release(FIRST, release)
            found = await tx.models.version(FIRST)
            assert found is not None
            assert found.release == release
            raise RolledBack


@each_rolls_back
@given(records.runs, records.rounds)
async def test_a_run_and_a_round_come_back(store: Store, changed: Run, record: Round) -> None:
    """Whole, added or saved."""
    with pytest.raises(RolledBack):
        async with store.write() as tx:
            await add_model(tx)
            await tx.runs.add(run())
            await tx.runs.save(changed)
            assert await tx.runs.get(RUN) == changed
            await tx.runs.save_round(record)
            assert await tx.runs.round(RUN, record.number) == record
            raise RolledBack


@each_rolls_back
@given(records.tasks)
async def test_a_task_comes_back(store: Store, task: TaskRecord) -> None:
    """Whole."""
    with pytest.raises(RolledBack):
        async with store.write() as tx:
            await add_training(tx)
            await tx.tasks.add([task])
            assert await tx.tasks.get(task.id) == task
            raise RolledBack


@each_rolls_back
@given(records.rollouts, records.deployments)
async def test_a_rollout_and_a_deployment_come_back(store: Store, changed: Rollout, record: DeploymentRecord) -> None:
    """Whole, added or saved."""
    with pytest.raises(RolledBack):
        async with store.write() as tx:
            await add_training(tx, BOX)
            await tx.rollouts.add(rollout(), [deployment(rollout())])
            await tx.rollouts.save(changed)
            await tx.rollouts.save_deployment(record)
            assert await tx.rollouts.get(ROLLOUT) == changed
            assert await tx.rollouts.deployments(ROLLOUT) == (record,)
            raise RolledBack
