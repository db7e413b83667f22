"""What can happen to an agent."""

from dataclasses import dataclass

from headwater_wire.ids import ModelName, TaskId
from headwater_wire.messages import Blob, Deployment, Metrics, Receipt, SyncAnswer, SyncRequest, Task

from headwater_agent.core.session import DatasetFact


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted this box: whatever it said before may have been missed."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The broker does not reach this box: it went away, or an attempt to connect failed. `chance` is in [0, 1)."""

    chance: float


@dataclass(frozen=True, slots=True)
class Rung:
    """The control plane asked for a Sync."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """A task arrived."""

    revision: int
    task: Task


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A task is over."""

    revision: int
    task: TaskId
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeploymentWanted:
    """A version should be installed."""

    revision: int
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Synced:
    """The control plane answered what was told in `request`."""

    request: SyncRequest
    answer: SyncAnswer


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The box's datasets were looked over."""

    datasets: tuple[DatasetFact, ...]


@dataclass(frozen=True, slots=True)
class ConditionsChanged:
    """The box may train now, or `waiting` says why it may not."""

    waiting: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """All that a task needs is here."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """What a task needs can't be had."""

    task: TaskId
    reason: str


@dataclass(frozen=True, slots=True)
class Trained:
    """The delta is in the spool, durably."""

    task: TaskId
    attempt: int
    delta: Blob
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Scored:
    """A task that only scores its base version did so."""

    task: TaskId
    attempt: int
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class TrainingRefused:
    """It can't work here, whatever is tried."""

    task: TaskId
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class TrainingBroke:
    """It was tried and failed."""

    task: TaskId
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The training stopped because it was asked to."""

    task: TaskId
    attempt: int


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The training child ended before it answered; `reached` is the step of the newest checkpoint, 0 without one."""

    task: TaskId
    attempt: int
    how: str
    reached: int = 0


@dataclass(frozen=True, slots=True)
class SpoolLost:
    """A spooled delta is gone, or not what was written."""

    task: TaskId
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Receipted:
    """The control plane gave its final answer to a delta."""

    task: TaskId
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class VersionFetched:
    """All that an install needs is here."""

    model: ModelName
    generation: int


@dataclass(frozen=True, slots=True)
class Installed:
    """`current` is the wanted version."""

    model: ModelName
    generation: int


@dataclass(frozen=True, slots=True)
class InstallFailed:
    """The wanted version can't be had, or did not pass its check."""

    model: ModelName
    generation: int
    problem: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A deadline may have come, or the time for a Sync that nobody asked for. `chance` is in [0, 1)."""

    chance: float


Event = (
    Connected
    | Disconnected
    | Rung
    | Assigned
    | Withdrawn
    | DeploymentWanted
    | Synced
    | Surveyed
    | ConditionsChanged
    | Fetched
    | FetchFailed
    | Trained
    | Scored
    | TrainingRefused
    | TrainingBroke
    | Paused
    | WorkerDied
    | SpoolLost
    | Receipted
    | VersionFetched
    | Installed
    | InstallFailed
    | TimePassed
)
