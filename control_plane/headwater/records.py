"""What the control plane tells of its things, as plain records."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

RUN_FINAL = frozenset({"completed", "failed", "cancelled"})
ROLLOUT_FINAL = frozenset({"completed", "cancelled"})
NOT_YET = "it is still being looked at"  # an agent's words for the problem of a dataset that it has not read yet


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored object, by the SHA-256 of its bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Column:
    """One tensor that a dataset provides: a model input's, or "label"."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset on a device: its name, schema and count are all that is known here."""

    name: str
    examples: int
    columns: tuple[Column, ...] = ()
    problem: str = ""

    @property
    def pending(self) -> bool:
        """Say whether its device is still looking at it, so that nothing is known yet."""
        return self.problem == NOT_YET


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
class Condition:
    """One that a box's owner sets for training now."""

    name: str  # power, temperature, memory, cpu-pressure, cpu, gpu, disk, network, hours, maintenance, sensors, steady
    state: str  # ok, unmet, unknown
    why: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """One edge box. `state`: online or offline; enrolled (it never registered); expired (its certificate); disabled."""

    id: str
    registered_at: datetime | None  # None: it was enrolled, and its agent never came
    online: bool
    state: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    inventory: Inventory = field(default_factory=Inventory)
    datasets: tuple[Dataset, ...] = ()
    engines: tuple[str, ...] = ()
    unconfined: tuple[str, ...] = ()  # what its kernel lacks to confine a training
    conditions: tuple[Condition, ...] = ()  # as it told them last
    revision: int = 0
    held_revision: int = 0
    last_seen: datetime | None = None
    late: int = 0  # its deltas that came after their round had closed
    presence_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a task measured. Losses are means per example; those of the held-out share judge the base version."""

    examples: int = 0
    train_loss: float | None = None
    holdout_examples: int = 0
    holdout_loss: float | None = None
    holdout_correct: float | None = None  # None: the model's loss counts none
    seconds: float = 0.0
    holdout_absolute_error: float | None = None  # summed over the held-out examples; None: the loss has none


@dataclass(frozen=True, slots=True)
class Task:
    """One device's share of a round."""

    id: str
    run: str
    round: int
    device: str
    state: str  # open, succeeded, failed, rejected, timed_out, cancelled
    opened_at: datetime
    deadline: datetime
    phase: str | None = None  # accepted, waiting, fetching, training, spooled, uploading
    step: int = 0
    steps: int = 0
    loss: float | None = None
    waiting_for: str = ""
    reason: str = ""
    metrics: Metrics | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    closed_at: datetime | None = None
    late_at: datetime | None = None  # when its delta came, if that was after the round had closed


@dataclass(frozen=True, slots=True)
class Deployment:
    """One device's install of a rollout's version."""

    rollout: str
    device: str
    model: str
    version: str
    generation: int
    state: str  # pending, installed, failed, superseded
    updated_at: datetime
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DeviceDetail:
    """A device with what it is doing. `not_training` says why it does nothing, in words; empty: it trains."""

    device: Device
    tasks: tuple[Task, ...]
    deployments: tuple[Deployment, ...]
    not_training: tuple[str, ...]
    certificate_ends: datetime | None = None
    disabled_at: datetime | None = None  # since when it is shut out
    disabled_reason: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """An imported ONNX graph."""

    name: str
    loss: str
    elements: int  # trainable numbers
    bundle: Blob
    graph: Blob
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """One set of a model's parameters. `run` and `round` made it; None: it was imported."""

    id: str
    model: str
    number: int
    parameters: Blob
    created_at: datetime
    parent: str | None = None
    run: str | None = None
    round: int | None = None


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A parameter, or a constant like one, and why it is frozen if it is."""

    name: str
    shape: tuple[int, ...]
    trains: bool
    why: str


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What training a model takes on a device: bytes, and a step's seconds, measured by the control plane."""

    rows: tuple[CheckedRow, ...]
    elements: int
    delta_bytes: int
    batch_size: int
    parameter_bytes: int  # two sets, and what is frozen
    adam_bytes: int  # what adam's state would add
    activation_bytes: int
    step_s: float  # on one thread
    small_bytes: int  # parameters and a step, on a box whose memory is "small"
    small_step_s: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelImport:
    """What an import made. `notes` are worth reading."""

    model: Model
    version: Version
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What was asked of a run."""

    model: str
    dataset: str
    base: str
    rounds: int
    cohort: dict[str, str]
    clients_per_round: int
    over_select: float
    quorum: float
    round_deadline_s: float
    progress_deadline_s: float
    strategy: str
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str
    momentum: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    clip_norm: float
    proximal: float
    holdout: float
    seed: int
    reproducible: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A run and how far it is. `version` is the newest it made, at first its base."""

    id: str
    spec: RunSpec
    state: str  # running, paused, completed, failed, cancelled
    version: str
    round: int
    created_at: datetime
    reason: str = ""
    ended_at: datetime | None = None

    @property
    def final(self) -> bool:
        """Say whether nothing can follow."""
        return self.state in RUN_FINAL


@dataclass(frozen=True, slots=True)
class Scores:
    """A round in numbers, weighted by examples; None where nobody reported any. Held-out ones judge the base."""

    reported: int = 0
    examples: int = 0
    train_loss: float | None = None
    holdout_examples: int = 0
    holdout_loss: float | None = None
    holdout_accuracy: float | None = None
    holdout_mean_absolute_error: float | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    late: int = 0  # deltas that came after it had closed
    selecting_s: float | None = None  # from opening to asking
    collecting_s: float | None = None  # from asking to the freeze
    merging_s: float | None = None  # from the freeze to the commit


@dataclass(frozen=True, slots=True)
class Round:
    """One select, collect, merge cycle: who was asked, who reported, who dropped and why."""

    number: int
    state: str  # selecting, collecting, merging, committed, abandoned
    base: str
    evaluate: bool
    opened_at: datetime
    target: int
    quorum: int
    scores: Scores
    tasks: tuple[Task, ...]
    deadline: datetime | None = None
    merged: str | None = None
    collected_at: datetime | None = None
    closed_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunDetail:
    """A run with some of its rounds in a row, in their order; the first of all has the number 1."""

    run: Run
    rounds: tuple[Round, ...]


@dataclass(frozen=True, slots=True)
class Rollout:
    """Sending a version to the devices with `labels`."""

    id: str
    model: str
    version: str
    labels: dict[str, str]
    generation: int
    state: str  # running, completed, cancelled
    created_at: datetime

    @property
    def final(self) -> bool:
        """Say whether nothing can follow."""
        return self.state in ROLLOUT_FINAL


@dataclass(frozen=True, slots=True)
class RolloutDetail:
    """A rollout with each device's install."""

    rollout: Rollout
    deployments: tuple[Deployment, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the control plane works; `problems` name the parts that don't."""

    ready: bool
    version: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change: who asked for it, from where, and what the fields that it changed were before and after."""

    number: int
    at: datetime
    who: str
    source: str
    request: str
    action: str  # such as run.start
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    previous: str
    digest: str


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """How many entries of the audit log hold together, the digest it ends with, and the first problem (none: "")."""

    entries: int
    head: str
    problem: str
