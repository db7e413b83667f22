"""What the HTTP API says of each thing: the contract with the SDK and with everybody's curl."""

from datetime import datetime
from typing import Annotated

from headwater_wire.errors import Malformed
from headwater_wire.ids import check_name
from headwater_wire.messages import ConditionState, Phase
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from headwater_control.core.fleet import DeviceState
from headwater_control.core.rollout import DeploymentState, RolloutState
from headwater_control.core.runs import TaskState


def _name(text: str) -> str:
    try:
        return check_name(text, "this")
    except Malformed as error:
        raise ValueError(str(error)) from error


Name = Annotated[str, AfterValidator(_name)]
Labels = Annotated[dict[Name, Name], BeforeValidator(dict)]  # records keep them as sorted pairs
Measured = float | None  # JSON has no NaN: pydantic spells it null


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
