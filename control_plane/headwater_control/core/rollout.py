"""The records of shipping: a rollout and its deployments. Waves, gates and rollback enter here later."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from headwater_wire.ids import DeviceId, ModelName, RolloutId, VersionId
from headwater_wire.messages import DeploymentReport


class RolloutState(StrEnum):
    """RUNNING → COMPLETED | CANCELLED."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"  # replaced by a newer rollout of the same model, or by hand


class DeploymentState(StrEnum):
    """PENDING → INSTALLED | FAILED; SUPERSEDED when a newer generation reached the device's desire first."""

    PENDING = "pending"
    INSTALLED = "installed"
    FAILED = "failed"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Rollout:
    """Sending a version to the devices with `labels`. `generation` grows with each rollout of a model."""

    id: RolloutId
    model: ModelName
    version: VersionId
    labels: tuple[tuple[str, str], ...]
    generation: int
    state: RolloutState
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """One device's install of a rollout's version."""

    rollout: RolloutId
    device: DeviceId
    model: ModelName
    version: VersionId
    generation: int
    state: DeploymentState
    updated_at: datetime
    problem: str = ""


def reported(record: DeploymentRecord, report: DeploymentReport, at: datetime) -> DeploymentRecord:
    """Say what a device's report makes of its deployment: one of another generation, or a second one, nothing."""
    if report.generation != record.generation or record.state is not DeploymentState.PENDING:
        return record
    state = DeploymentState.INSTALLED if report.installed else DeploymentState.FAILED
    return replace(record, state=state, problem="" if report.installed else report.problem, updated_at=at)


def superseded(record: DeploymentRecord, at: datetime) -> DeploymentRecord:
    """Say what a newer generation, or the end of its rollout, makes of a deployment: if it was pending, it is off."""
    if record.state is not DeploymentState.PENDING:
        return record
    return replace(record, state=DeploymentState.SUPERSEDED, updated_at=at)


def settled(rollout: Rollout, deployments: Iterable[DeploymentRecord]) -> Rollout:
    """Say what a running rollout is by now: completed when none is pending, cancelled when newer ones took them all."""
    states = {record.state for record in deployments}
    if rollout.state is not RolloutState.RUNNING or DeploymentState.PENDING in states:
        return rollout
    overtaken = states == {DeploymentState.SUPERSEDED}
    return replace(rollout, state=RolloutState.CANCELLED if overtaken else RolloutState.COMPLETED)


def meant_for(labels: tuple[tuple[str, str], ...], rollouts: Iterable[Rollout]) -> tuple[Rollout, ...]:
    """Choose, per model, the newest running rollout that a device with `labels` belongs to."""
    newest: dict[ModelName, Rollout] = {}
    for rollout in sorted(rollouts, key=lambda rollout: rollout.generation):
        if rollout.state is RolloutState.RUNNING and set(rollout.labels) <= set(labels):
            newest[rollout.model] = rollout
    return tuple(newest[model] for model in sorted(newest))
