"""What the HTTP API says of a run: its request, its rounds and their figures."""

from dataclasses import fields
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headwater_control.core import runs as core
from headwater_control.core.limits import RANGES
from headwater_control.core.runs import RoundState, RunState
from headwater_control.gates.http.schemas import Labels, Measured, Name, Record, Task
from headwater_control.service.runs import RoundView

_DEFAULTS = {field.name: field.default for field in fields(core.RunSpec)}


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
    """A run with some of its rounds in a row, in their order; the first of all has the number 1."""

    run: Run
    rounds: list[Round]
