"""A box, its disk and its control plane as a model without time: for properties of the agent's state machine."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import resume, step
from headwater_agent.core.session import Box, DatasetFact, Session, Stage
from headwater_agent.core.telling import sync_request
from headwater_wire.ids import Digest, ModelName, RolloutId, TaskId, VersionId
from headwater_wire.messages import (
    Blob,
    Deployment,
    Metrics,
    Receipt,
    ReceiptKind,
    SyncAnswer,
    Task,
)

from tests.fakes.agent_bundle import DATASET, DEVICE

METRICS = Metrics(examples=8, train_loss=0.5)
BOX = Box(DEVICE, (DatasetFact(DATASET, "f1"),))


def delta_of(task: TaskId) -> Blob:
    """Training is deterministic: the same task gives the same delta."""
    return Blob(Digest(hashlib.sha256(task.encode()).hexdigest()), 4)


def deployment(generation: int, model: str = "m") -> Deployment:
    """Want a version, named after its generation."""
    blob = delta_of(TaskId(f"{model}-{generation}"))
    return Deployment(
        DEVICE,
        RolloutId(f"rollout-{generation}"),
        ModelName(model),
        VersionId(f"{model}-{generation}"),
        generation,
        blob,
        blob,
        1e-4,
    )


@dataclass
class Server:
    """The control plane's truth: which tasks are open, and what ended each of the others."""

    revision: int = 0
    generation: int = 0
    now_ms: int = 1_000_000
    open: dict[TaskId, Task] = field(default_factory=dict)
    ends: dict[TaskId, list[str]] = field(default_factory=dict)
    wanted: dict[ModelName, Deployment] = field(default_factory=dict)
    installs: list[tuple[ModelName, int, bool]] = field(default_factory=list)

    def assign(self, task: Task) -> on.Event:
        """Open a task; give the message that tells of it."""
        self.revision += 1
        self.open[task.id] = task
        return on.Assigned(self.revision, task)

    def withdraw(self, task: TaskId) -> on.Event:
        """Close a task; give the message."""
        self.revision += 1
        if self.open.pop(task, None):
            self.ends.setdefault(task, []).append("withdrawn")
        return on.Withdrawn(self.revision, task)

    def deploy(self, wanted: Deployment) -> on.Event:
        """Want a version; give the message."""
        self.revision += 1
        self.generation = wanted.generation
        self.wanted[wanted.model] = wanted
        return on.DeploymentWanted(self.revision, wanted)

    def take(self, task: TaskId) -> Receipt:
        """Take an uploaded delta."""
        if self.open.pop(task, None):
            self.ends.setdefault(task, []).append("committed")
            return Receipt(ReceiptKind.COMMITTED)
        if "committed" in self.ends.get(task, []):
            return Receipt(ReceiptKind.COMMITTED)
        return Receipt(ReceiptKind.CANCELLED)

    def sync(self, session: Session) -> on.Synced:
        """Answer a Sync."""
        request = sync_request(session, epoch=1, hello_hash="")
        for report in request.reports:
            if self.open.pop(report.task, None):
                self.ends.setdefault(report.task, []).append(type(report.outcome).__name__)
        self.installs += [(r.model, r.generation, r.installed) for r in request.deployments]
        answer = SyncAnswer(
            self.revision, self.now_ms, 1, False, tuple(self.open.values()), tuple(self.wanted.values()), 30
        )
        return on.Synced(request, answer)


@dataclass
class World:
    """The agent's shell as a model: `saved` survives a crash, as do `spool` and the server; `pending` does not."""

    server: Server = field(default_factory=Server)
    saved: Session = field(default_factory=lambda: Session(BOX))
    pending: list[do.Command] = field(default_factory=list)
    spool: set[TaskId] = field(default_factory=set)
    started: list[tuple[TaskId, int]] = field(default_factory=list)  # trainings that came to an end, or died
    uploads: list[TaskId] = field(default_factory=list)
    issued: list[do.Command] = field(default_factory=list)
    answers: list[on.Event] = field(default_factory=list)  # of a Sync, on their way: at most one at a time
    at_s: float = 0.0

    def boot(self) -> None:
        """Start the agent, or start it again."""
        self.pending, self.answers = [], []
        self.spool &= {held.task.id for held in self.saved.held if held.stage is Stage.SPOOLED}
        self._take(*resume(replace(self.saved, box=BOX), at_s=self.at_s))
        self.happen(on.Connected())

    def happen(self, event: on.Event) -> None:
        """Let the machine decide, remember, and add what is to be done."""
        self._take(*step(self.saved, event, at_s=self.at_s))

    def perform(self, index: int, ending: Callable[[do.Command], on.Event | None]) -> list[on.Event]:
        """Do one pending command as the effects would; give the events it leads to."""
        command = self.pending.pop(index)
        match command:
            case do.Sync():
                if self.answers:  # Syncs never overlap: this one is made when the answer is here
                    self.pending.append(command)
                else:
                    self.answers.append(self.server.sync(self.saved))
                return []
            case do.StopTraining(task):
                self.spool.discard(task)
                self.pending = [
                    other
                    for other in self.pending
                    if not (isinstance(other, do.Fetch | do.Train) and other.task.id == task)
                ]
                return []
            case do.PauseTraining(task):
                return self._pause(task)
            case do.AbandonInstall(model, generation):
                self.pending = [
                    other
                    for other in self.pending
                    if not isinstance(other, do.FetchVersion | do.Install)
                    or (other.deployment.model, other.deployment.generation) != (model, generation)
                ]
                return []
            case do.Discard(task):
                self.spool.discard(task)
                return []
            case do.Announce():
                return []
            case do.Upload(task, attempt):
                if task.id not in self.spool:
                    return [on.SpoolLost(task.id, attempt, "it is gone")]
                self.uploads.append(task.id)
                return [on.Receipted(task.id, self.server.take(task.id))]
        if isinstance(command, do.Train):
            self.started.append((command.task.id, command.attempt))
        event = ending(command)
        if isinstance(event, on.Trained):
            self.spool.add(event.task)
        return [event] if event else []

    def _pause(self, task: TaskId) -> list[on.Event]:
        running = [other for other in self.pending if isinstance(other, do.Train) and other.task.id == task]
        self.pending = [other for other in self.pending if other not in running]
        return [on.Paused(task, other.attempt) for other in running]

    def drain(self) -> None:
        """Let everything come to its good end."""
        self.happen(on.ConditionsChanged(""))
        for _ in range(10_000):
            if self.answers:
                self.happen(self.answers.pop())
            elif self.pending:
                for event in self.perform(0, succeed):
                    self.happen(event)
            elif self.saved.revision < self.server.revision:  # a heartbeat shows it
                self.happen(on.Rung())
            else:
                return
        raise AssertionError(f"no end in sight: {self.pending}")

    def _take(self, session: Session, commands: tuple[do.Command, ...]) -> None:
        self.saved = session
        self.issued += commands
        for command in commands:
            if isinstance(command, do.PauseFetching):  # as the shell does it: at once
                self.pending = [p for p in self.pending if not isinstance(p, do.Fetch) or p.task.id != command.task]
            else:
                self.pending.append(command)


def succeed(command: do.Command) -> on.Event | None:
    """End a command as it should."""
    match command:
        case do.Fetch(task):
            return on.Fetched(task.id)
        case do.Train(task, attempt):
            if task.plan.train:
                return on.Trained(task.id, attempt, delta_of(task.id), METRICS)
            return on.Scored(task.id, attempt, METRICS)
        case do.FetchVersion(wanted):
            return on.VersionFetched(wanted.model, wanted.generation)
        case do.Install(wanted):
            return on.Installed(wanted.model, wanted.generation)
        case _:
            raise AssertionError(f"{command} is not the caller's to end")
