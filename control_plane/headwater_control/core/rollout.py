"""The records of shipping: a rollout and its deployments. Waves, gates and rollback enter here later."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headwater_wire.ids import DeviceId, ModelName, RolloutId, VersionId


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
