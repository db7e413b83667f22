"""The records of the wire that a core reads: frozen, plain, without protobuf."""

from dataclasses import dataclass
from enum import StrEnum

from headwater_wire.ids import DeviceId, Digest, ModelName, RolloutId, RunId, TaskId, VersionId


@dataclass(frozen=True, slots=True)
class Blob:
    """A content-addressed object."""

    digest: Digest
    size: int


class Phase(StrEnum):
    """How far a device is with an open task: for people, never decisive."""

    ACCEPTED = "accepted"
    FETCHING = "fetching"
    TRAINING = "training"
    SPOOLED = "spooled"
    UPLOADING = "uploading"


@dataclass(frozen=True, slots=True)
class Plan:
    """How one task trains."""

    train: bool = True  # False: only score the base version on the held-out share
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.05
    seed: int = 0
    holdout: float = 0.2  # share of the dataset that is scored and never trained on
    threads: int = 0  # 0: the box decides
    codec: str = "f32"
    # Hyperparameters of optimizers: each is read by those that have it.
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    proximal: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """One device's share of a round, as it travels."""

    id: TaskId
    run: RunId
    round: int
    device: DeviceId
    dataset: str
    bundle: Blob
    base: Blob
    base_version: VersionId
    plan: Plan
    deadline_ms: int  # server time
    labels: tuple[tuple[str, str], ...] = ()  # of the run, sorted by key


@dataclass(frozen=True, slots=True)
class Progress:
    """A line of a heartbeat."""

    task: TaskId
    phase: Phase
    step: int = 0
    steps: int = 0
    loss: float = 0.0
    waiting_for: str = ""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a task measured. Losses are means per example; None: the model's loss has no such figure."""

    examples: int = 0
    train_loss: float = 0.0
    holdout_examples: int = 0
    holdout_loss: float = 0.0
    holdout_correct: float | None = None  # examples that were right
    seconds: float = 0.0
    holdout_absolute_error: float | None = None  # summed over the held-out examples


class ReceiptKind(StrEnum):
    """The four final answers to an upload."""

    COMMITTED = "committed"
    TOO_LATE = "too_late"
    CANCELLED = "cancelled"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A final answer: the agent then deletes its spool."""

    kind: ReceiptKind
    digest: str = ""  # COMMITTED: of the delta that counts
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What an upload begins with."""

    device: DeviceId
    task: TaskId
    delta: Blob
    codec: str
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Failed:
    """A task's outcome: it was tried and did not work; another device may be asked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A task's outcome: this box will not do it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A task's outcome: its base version was scored, as asked."""

    metrics: Metrics


Outcome = Failed | Rejected | Evaluated


@dataclass(frozen=True, slots=True)
class TaskReport:
    """An outcome that needs no delta."""

    task: TaskId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a device should have installed of one model."""

    device: DeviceId
    rollout: RolloutId
    model: ModelName
    version: VersionId
    generation: int
    onnx: Blob
    reference: Blob
    tolerance: float


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A task that is over."""

    task: TaskId
    reason: str


@dataclass(frozen=True, slots=True)
class Order:
    """What the control plane tells one device to do, and which revision that makes."""

    device: DeviceId
    revision: int
    body: Task | Withdrawal | Deployment


@dataclass(frozen=True, slots=True)
class DeploymentReport:
    """How an install ended."""

    rollout: RolloutId
    model: ModelName
    generation: int
    installed: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class HeldTask:
    """A task the agent has not finished with."""

    task: TaskId
    phase: Phase


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What the agent holds, and what it has to report."""

    device: DeviceId
    epoch: int
    revision: int
    hello_hash: str = ""
    held: tuple[HeldTask, ...] = ()
    reports: tuple[TaskReport, ...] = ()
    deployments: tuple[DeploymentReport, ...] = ()
    hello: "Hello | None" = None  # what `hello_hash` is of, until the control plane is known to have it


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """What the agent should hold. Tasks beyond these are over, but for what is spooled."""

    revision: int
    server_time_ms: int
    epoch: int
    hello_wanted: bool
    tasks: tuple[Task, ...]
    deployments: tuple[Deployment, ...]
    heartbeat_s: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a box is made of."""

    hostname: str = ""
    machine: str = ""
    system: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    disk_free_bytes: int = 0
    agent_version: str = ""
    python_version: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One tensor a dataset provides: the model input it feeds, or "label"."""

    name: str
    dtype: str
    shape: tuple[int, ...]  # of one example


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """A dataset as the control plane knows it: name, schema, count; never a path or a sample."""

    name: str
    examples: int
    columns: tuple[Column, ...] = ()
    problem: str = ""


class ConditionState(StrEnum):
    """Whether a condition for training is met."""

    OK = "ok"
    UNMET = "unmet"
    UNKNOWN = "unknown"  # it can't be told on this box


@dataclass(frozen=True, slots=True)
class Condition:
    """One that a box's owner sets for training now: what of, and why it is not met."""

    name: str  # "power", "hours"
    state: ConditionState
    why: str = ""


@dataclass(frozen=True, slots=True)
class Hello:
    """A device's registration."""

    epoch: int
    inventory: Inventory
    labels: tuple[tuple[str, str], ...] = ()  # sorted by key
    datasets: tuple[DatasetCard, ...] = ()
    engines: tuple[str, ...] = ()
    unconfined: tuple[str, ...] = ()  # of the worker's confinement, what this box does without
    conditions: tuple[Condition, ...] = ()  # for training now; none: of an agent that knows no such
