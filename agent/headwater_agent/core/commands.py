"""What the machine can ask of the shell."""

from dataclasses import dataclass

from headwater_wire.ids import ModelName, TaskId
from headwater_wire.messages import Blob, Deployment, Metrics, Task


@dataclass(frozen=True, slots=True)
class Sync:
    """Tell the control plane what is held and reported; take its answer. Several at once are one."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Register again."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring bundle, graph and base version."""

    task: Task


@dataclass(frozen=True, slots=True)
class Train:
    """Run the task in the child, and spool its delta."""

    task: Task
    attempt: int


@dataclass(frozen=True, slots=True)
class StopTraining:
    """End the task's fetching or training; nothing more comes of it."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class PauseFetching:
    """End the task's fetching; what has come so far is kept."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class PauseTraining:
    """Have the worker leave a checkpoint and stop; the training ends in `Paused`, unless it was faster."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class Upload:
    """Offer the spooled delta until a receipt comes. `attempt` is the training it came from."""

    task: Task
    attempt: int
    delta: Blob
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete the task's delta."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class Drop:
    """Offer the task's delta no longer, and delete it."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class FetchVersion:
    """Bring a version's graph and its reference."""

    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Install:
    """Check a version that is here, and activate it."""

    deployment: Deployment


@dataclass(frozen=True, slots=True)
class AbandonInstall:
    """Stop an install that a newer generation has replaced."""

    model: ModelName
    generation: int


Command = (
    Sync
    | Announce
    | Fetch
    | Train
    | StopTraining
    | PauseFetching
    | PauseTraining
    | Upload
    | Discard
    | Drop
    | FetchVersion
    | Install
    | AbandonInstall
)
