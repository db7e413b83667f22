"""What the HTTP API says of each thing: the contract with the SDK and with everybody's curl."""

from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any

from headwater_wire.errors import Malformed
from headwater_wire.ids import check_name
from headwater_wire.messages import ConditionState, Phase
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from headwater_control.core import runs as core
from headwater_control.core.fleet import DeviceState
from headwater_control.core.limits import RANGES
from headwater_control.core.rollout import DeploymentState, RolloutState
from headwater_control.core.runs import RoundState, RunState, TaskState
from headwater_control.service.runs import RoundView


def _name(text: str) -> str:
    try:
        return check_name(text, "this")
    except Malformed as error:
        raise ValueError(str(error)) from error


Name = Annotated[str, AfterValidator(_name)]
Labels = Annotated[dict[Name, Name], BeforeValidator(dict)]  # records keep them as sorted pairs
Measured = float | None  # JSON has no NaN: pydantic spells it null
_DEFAULTS = {field.name: field.default for field in fields(core.RunSpec)}


class Record(BaseModel):
    """Made from a record's attributes."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Health(Record):
    """Whether the control plane works; `problems` name the parts that don't."""

    ready: bool
    version: str
    problems: list[str]


class Blob(Record):
    """A stored object, by the SHA-256 of its bytes."""

    digest: str
    size: int


class Column(Record):
    """One tensor that a dataset provides: a model input's, or "label"."""

    name: str
    dtype: str
    shape: list[int]


class Dataset(Record):
    """A dataset on a device: its name, schema and count are all that is known here."""

    name: str
    examples: int
    columns: list[Column]
    problem: str


class Condition(Record):
    """One that a device's owner sets for training now: ok, unmet (and why), or unknown, which does no harm."""

    name: str
    state: ConditionState
    why: str


class Inventory(Record):
    """What a box is made of."""

    hostname: str
    machine: str
    system: str
    cpus: int
    memory_bytes: int
    disk_free_bytes: int
    agent_version: str
    python_version: str


class Device(Record):
    """One edge box. It has taken in every change meant for it once `held_revision` is `revision`.

    `state` is online or offline; enrolled, while it has never registered (`registered_at` is null); expired, if its
    certificate is; disabled, if an operator has shut it out.
    """

    id: str
    state: DeviceState
    registered_at: datetime | None
    labels: Labels
    inventory: Inventory
    datasets: list[Dataset]
    engines: list[str]
    unconfined: list[str]
    conditions: list[Condition]
    revision: int
    held_revision: int
    online: bool
    presence_at: datetime | None
    last_seen: datetime | None
    late: int


class Metrics(Record):
    """What a task measured. Losses are means per example; the held-out share judges the base version.

    Null: the model's loss has no such figure.
    """

    examples: int
    train_loss: Measured
    holdout_examples: int
    holdout_loss: Measured
    holdout_correct: Measured
    seconds: float
    holdout_absolute_error: Measured


class Task(Record):
    """One device's share of a round."""

    id: str
    run: str
    round: int
    device: str
    state: TaskState
    opened_at: datetime
    deadline: datetime
    phase: Phase | None
    step: int
    steps: int
    loss: Measured
    waiting_for: str
    reason: str
    metrics: Metrics | None
    bytes_up: int
    bytes_down: int
    closed_at: datetime | None
    late_at: datetime | None


class Deployment(Record):
    """One device's install of a rollout's version."""

    rollout: str
    device: str
    model: str
    version: str
    generation: int
    state: DeploymentState
    updated_at: datetime
    problem: str


class DeviceDetail(Record):
    """A device with its open tasks, its installs, why it is not training (empty: it is), and whether it may come in."""

    device: Device
    tasks: list[Task]
    deployments: list[Deployment]
    not_training: list[str]
    certificate_ends: datetime | None
    disabled_at: datetime | None
    disabled_reason: str


class Model(Record):
    """An imported ONNX graph. `elements` counts its trainable numbers."""

    name: str
    loss: str
    elements: int
    bundle: Blob
    graph: Blob
    created_at: datetime


class Version(Record):
    """One set of a model's parameters. `run` and `round` made it; null: it was imported."""

    id: str
    model: str
    number: int
    parameters: Blob
    parent: str | None
    run: str | None
    round: int | None
    created_at: datetime


class ModelImport(Record):
    """What an import made, and what is worth knowing about it."""

    model: Model
    version: Version
    notes: list[str]


class CheckedRow(Record):
    """A parameter, or a constant like one."""

    name: str
    shape: list[int]
    trains: bool
    why: str


class ModelCheck(Record):
    """What training a model takes on a device: bytes, and a step's seconds, measured here on one thread."""

    rows: list[CheckedRow]
    elements: int
    delta_bytes: int
    batch_size: int
    parameter_bytes: int
    adam_bytes: int
    activation_bytes: int
    step_s: float
    small_bytes: int
    small_step_s: float
    notes: list[str]


def _knob(name: str, description: str | None = None) -> Any:
    """Describe a field of `RunStart` as core has it: the default, and for a number its range."""
    default, allowed = _DEFAULTS[name], RANGES.get(name)
    if allowed is None:
        return Field(default, description=description)
    low, high = allowed.low, allowed.high
    ge, gt = (None, low) if allowed.above else (low, None)
    le, lt = (None, high) if allowed.below else (high, None)
    return Field(default, description=description, ge=ge, gt=gt, le=le, lt=lt)


class RunStart(BaseModel):
    """A request to train. What is left out has the default."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: Name
    dataset: Name
    base: Name | None = Field(None, description="null: the model's newest version")
    rounds: int = _knob("rounds")
    cohort: dict[Name, Name] = Field(default_factory=dict, description="labels a device must have, all of them")
    clients_per_round: int = _knob("clients_per_round", "the target; 0: every eligible device")
    over_select: float = _knob("over_select", "so many times the target are asked")
    quorum: float = _knob("quorum", "of the target: fewer deltas abandon the round")
    round_deadline_s: float = _knob("round_deadline_s", "seconds a round may take")
    progress_deadline_s: float = _knob("progress_deadline_s", "seconds a device may show no progress")
    strategy: Name = _knob("strategy", "how deltas become the next version")
    epochs: int = _knob("epochs", "passes over a device's data, each round")
    batch_size: int = _knob("batch_size", "examples a step")
    learning_rate: float = _knob("learning_rate")
    optimizer: Name = _knob("optimizer", "sgd, momentum, nesterov, adam or adamw")
    momentum: float = _knob("momentum", "of momentum and nesterov")
    beta1: float = _knob("beta1", "of adam and adamw: the mean gradient's decay")
    beta2: float = _knob("beta2", "of adam and adamw: the squared gradient's decay")
    epsilon: float = _knob("epsilon", "of adam and adamw")
    weight_decay: float = _knob("weight_decay", "adamw: decoupled; else added to the gradient")
    clip_norm: float = _knob("clip_norm", "most that a step's whole gradient may measure; 0: anything")
    proximal: float = _knob("proximal", "FedProx: the pull towards the round's base version; 0: none")
    holdout: float = _knob("holdout", "share of the data that is scored, never trained on")
    seed: int = _knob("seed")
    reproducible: bool = _knob("reproducible", "same seeds, same machine, same bits")


class RunSpec(Record):
    """What was asked of a run."""

    model: str
    dataset: str
    base: str
    rounds: int
    cohort: Labels
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


class Run(Record):
    """A run and how far it is. `version` is the newest it made, at first its base."""

    id: str
    spec: RunSpec
    state: RunState
    version: str
    round: int
    created_at: datetime
    reason: str
    ended_at: datetime | None


class Scores(Record):
    """A round in numbers, weighted by examples; null where nobody reported any. Held-out ones judge the base."""

    reported: int
    examples: int
    train_loss: Measured
    holdout_examples: int
    holdout_loss: Measured
    holdout_accuracy: Measured
    holdout_mean_absolute_error: Measured
    bytes_up: int
    bytes_down: int
    late: int
    selecting_s: float | None
    collecting_s: float | None
    merging_s: float | None


class RoundFacts(Record):
    """How one select, collect, merge cycle stands. The last one of a run only evaluates."""

    number: int
    state: RoundState
    base: str
    evaluate: bool
    opened_at: datetime
    target: int
    quorum: int
    deadline: datetime | None
    merged: str | None
    collected_at: datetime | None
    closed_at: datetime | None
    reason: str


class Round(RoundFacts):
    """A round: who was asked, who reported, who dropped and why."""

    scores: Scores
    tasks: list[Task]

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, view: object) -> object:
        if not isinstance(view, RoundView):
            return view
        facts = {name: getattr(view.round, name) for name in RoundFacts.model_fields}
        return {**facts, "scores": view.metrics, "tasks": view.tasks}


class RunDetail(Record):
    """A run with its rounds, first to last."""

    run: Run
    rounds: list[Round]


class RolloutStart(BaseModel):
    """A request to send a version to the devices with all of `labels` (none: to all)."""

    model_config = ConfigDict(extra="forbid")

    version: Name
    labels: dict[Name, Name] = Field(default_factory=dict)


class Rollout(Record):
    """Sending a version to devices."""

    id: str
    model: str
    version: str
    labels: Labels
    generation: int
    state: RolloutState
    created_at: datetime


class RolloutDetail(Record):
    """A rollout with each device's install."""

    rollout: Rollout
    deployments: list[Deployment]
