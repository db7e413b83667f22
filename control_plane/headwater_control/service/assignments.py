"""Spells out stored tasks and deployments as their devices see them."""

from collections.abc import Sequence

from headwater_wire.messages import Deployment, Task

from headwater_control.core.assignment import assignment
from headwater_control.core.models import Bundle, Version
from headwater_control.core.rollout import DeploymentRecord
from headwater_control.core.runs import Round, Run, TaskRecord
from headwater_control.core.training import training
from headwater_control.ports import Transaction
from headwater_control.service.lookup import find_bundle, find_run, find_version


async def spell_tasks(tx: Transaction, records: Sequence[TaskRecord]) -> tuple[Task, ...]:
    """Give the tasks as they travel."""
    rounds: dict[tuple[str, int], tuple[Run, Round, Bundle, Version]] = {}
    spelled = []
    for task in records:
        key = (task.run, task.round)
        if key not in rounds:
            run = await find_run(tx, task.run)
            record = await tx.runs.round(task.run, task.round)
            assert record is not None  # the task's foreign key
            bundle = await find_bundle(tx, run.spec.model, training(run.spec))
            rounds[key] = run, record, bundle, await find_version(tx, record.base)
        run, record, bundle, base = rounds[key]
        spelled.append(assignment(run, record, task, bundle, base))
    return tuple(spelled)


def spell_deployment(record: DeploymentRecord, version: Version, tolerance: float) -> Deployment:
    """Give a deployment as it travels; its version has been composed."""
    assert version.release is not None
    return Deployment(
        device=record.device,
        rollout=record.rollout,
        model=record.model,
        version=record.version,
        generation=record.generation,
        onnx=version.release.onnx,
        reference=version.release.reference,
        tolerance=tolerance,
    )
