"""What a person on the box wants to know: what the agent is doing, and if it does nothing, why."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from headwater_wire.ids import TaskId
from headwater_wire.messages import Phase, Progress

from headwater_agent.core.session import Held, ServerTime, Session, Stage
from headwater_agent.core.telling import progress


@dataclass(frozen=True, slots=True)
class Reach:
    """How the control plane can be reached. `synced_s` is how long ago a Sync was answered; None: not in this life."""

    broker: str
    gateway: str
    connected: bool
    synced_s: float | None
    clock_ahead_s: float | None = None  # of the box against the server's, as the last Sync told it


def reach_of(time: ServerTime, broker: str, gateway: str, *, connected: bool, at_s: float, wall_s: float) -> Reach:
    """Say how the control plane is reached, at a monotonic instant and the box's own Unix time."""
    if time.answered_s is None:
        return Reach(broker, gateway, connected, None)
    return Reach(broker, gateway, connected, at_s - time.answered_s, wall_s - time.now_ms(at_s) / 1000)


@dataclass(frozen=True, slots=True)
class Activity:
    """A task that is held. `waiting_for` is empty while it moves."""

    task: str
    phase: str
    dataset: str
    base_version: str
    attempt: int
    step: int
    steps: int
    loss: float | None  # None: not a number
    waiting_for: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delta that has no receipt yet."""

    task: str
    base_version: str
    dataset: str
    size_bytes: int
    sent_bytes: int
    waiting_for: str
    too_late: bool  # its deadline has passed: the control plane will say so


@dataclass(frozen=True, slots=True)
class Installation:
    """A version of a model on this box: installed, wanted or failed."""

    model: str
    version: str
    state: str


@dataclass(frozen=True, slots=True)
class Data:
    """A dataset as the agent itself found it. `examples` is None while it was not looked at yet."""

    name: str
    examples: int | None
    problem: str  # empty: it can be used


@dataclass(frozen=True, slots=True)
class Status:
    """A running agent at an instant."""

    device: str
    reach: Reach
    revision: int
    tasks: tuple[Activity, ...]
    spooled: tuple[Waiting, ...]
    installed: tuple[Installation, ...]
    datasets: tuple[Data, ...]
    waiting: str  # why nothing is trained now: its conditions, a pause
    idle: str  # why nothing happens at all; empty, while something does


def describe(session: Session, live: Mapping[TaskId, Progress], reach: Reach, *, at_s: float) -> Status:
    """Describe a session at a monotonic instant; `live` tells more of the tasks that are being worked on."""
    both = tuple(zip(session.held, progress(session, live), strict=True))
    now_ms = session.time.now_ms(at_s)
    return Status(
        device=session.box.device,
        reach=reach,
        revision=session.revision,
        tasks=tuple(_activity(held, shown) for held, shown in both if held.stage is not Stage.SPOOLED),
        spooled=tuple(_waiting(held, shown, now_ms) for held, shown in both if held.stage is Stage.SPOOLED),
        installed=tuple(
            Installation(install.model, install.deployment.version, install.state.value) for install in session.installs
        ),
        datasets=tuple(Data(fact.name, fact.examples, fact.problem) for fact in session.box.datasets),
        waiting=session.box.waiting,
        idle=_idle(session, reach),
    )


def _activity(held: Held, shown: Progress) -> Activity:
    return Activity(
        task=held.task.id,
        phase=shown.phase.value,
        dataset=held.task.dataset,
        base_version=held.task.base_version,
        attempt=held.attempts,
        step=shown.step,
        steps=shown.steps,
        loss=shown.loss if isfinite(shown.loss) else None,
        waiting_for=shown.waiting_for,
    )


def _waiting(held: Held, shown: Progress, now_ms: int) -> Waiting:
    return Waiting(
        task=held.task.id,
        base_version=held.task.base_version,
        dataset=held.task.dataset,
        size_bytes=held.delta.size if held.delta else 0,
        sent_bytes=shown.step if shown.phase is Phase.UPLOADING else 0,
        waiting_for=shown.waiting_for,
        too_late=now_ms > held.task.deadline_ms,
    )


def _idle(session: Session, reach: Reach) -> str:
    """Say why nothing happens, by what stands first in the way."""
    box = session.box
    if any(held.stage in {Stage.FETCHING, Stage.TRAINING} for held in session.held):
        return ""
    if box.refusal or box.waiting:
        return box.refusal or box.waiting
    if any(held.stage is Stage.SPOOLED for held in session.held):
        return "" if reach.connected else "a delta waits for the control plane, which can't be reached now"
    if not box.datasets:
        return "no dataset is declared: nothing can be asked of this box but installs"
    if all(dataset.problem for dataset in box.datasets):
        return f"no dataset can be used: {'; '.join(f'{d.name}: {d.problem}' for d in box.datasets)}"
    if not reach.connected:
        asks = "the gateway is asked every few minutes" if reach.synced_s is not None else "nor was the gateway yet"
        return f"the broker can't be reached ({asks}): a box that is offline is not chosen for new rounds"
    return "nothing is asked of this box: no run has chosen it"
