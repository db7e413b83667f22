"""The records of training: a run, its rounds, their tasks."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headwater_wire.ids import DeviceId, ModelName, RunId, TaskId, VersionId
from headwater_wire.messages import Blob, Metrics, Phase


class RunState(StrEnum):
    """RUNNING ⇄ PAUSED → COMPLETED | FAILED | CANCELLED."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Say whether nothing can follow."""
        return self in {RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED}


class RoundState(StrEnum):
    """SELECTING → COLLECTING → MERGING → COMMITTED | ABANDONED."""

    SELECTING = "selecting"
    COLLECTING = "collecting"
    MERGING = "merging"
    COMMITTED = "committed"
    ABANDONED = "abandoned"

    @property
    def final(self) -> bool:
        """Say whether nothing can follow."""
        return self in {RoundState.COMMITTED, RoundState.ABANDONED}


class TaskState(StrEnum):
    """OPEN → one of the others, once."""

    OPEN = "open"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


NEWEST = VersionId("")  # as the base of a request: the model's newest version, whichever it is at the start


@dataclass(frozen=True, slots=True)
class RunSpec:
    """An operator's request to train. Its defaults are everybody's: the API shows them, SDK and CLI leave out."""

    model: ModelName
    dataset: str
    base: VersionId = NEWEST  # where it starts from; of a started run never NEWEST
    rounds: int = 10
    cohort: tuple[tuple[str, str], ...] = ()  # labels a device must have, all of them
    clients_per_round: int = 0  # the target; 0: every eligible device
    over_select: float = 1.3
    quorum: float = 0.5  # of the target: fewer deltas abandon the round
    round_deadline_s: float = 600.0
    progress_deadline_s: float = 120.0  # a live device that shows no progress for so long is not waited for
    strategy: str = "fedavg"
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.05
    optimizer: str = "sgd"
    momentum: float = 0.9  # momentum, nesterov
    beta1: float = 0.9  # adam, adamw
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 0.0  # of a step's whole gradient; 0: as it is
    proximal: float = 0.0  # FedProx: the pull towards the round's base version
    holdout: float = 0.2
    seed: int = 0
    reproducible: bool = False  # over_select 1, wait for all, one thread: same seeds, same machine, same bits


@dataclass(frozen=True, slots=True)
class Run:
    """A run and how far it is. `version` is the newest of its versions, at first the base."""

    id: RunId
    spec: RunSpec
    state: RunState
    version: VersionId
    round: int  # number of the current round; the first is 1, the last (rounds + 1) only evaluates
    created_at: datetime
    reason: str = ""  # why it failed, was cancelled, or waits
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One select, collect, merge cycle. `frozen` is the merge's order: the selection order of what succeeded."""

    run: RunId
    number: int
    state: RoundState
    base: VersionId
    evaluate: bool  # only scores the base version: nothing is merged
    opened_at: datetime
    target: int = 0
    quorum: int = 0
    deadline: datetime | None = None
    frozen: tuple[TaskId, ...] = ()
    merged: VersionId | None = None
    collected_at: datetime | None = None  # COLLECTING ended
    closed_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One device's share of a round, as the control plane keeps it. `order` is its place in the selection."""

    id: TaskId
    run: RunId
    round: int
    device: DeviceId
    order: int
    state: TaskState
    opened_at: datetime
    deadline: datetime
    phase: Phase | None = None  # None: the device has not been heard of it
    step: int = 0
    steps: int = 0
    loss: float = 0.0
    waiting_for: str = ""
    progress_at: datetime | None = None  # when phase or step last moved
    reason: str = ""
    delta: Blob | None = None
    codec: str = ""
    metrics: Metrics | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    closed_at: datetime | None = None
    late_at: datetime | None = None  # when its delta was offered first, if that was after the round had closed
