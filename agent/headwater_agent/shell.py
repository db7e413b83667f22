"""The loop around the machine: take an event, decide, remember, only then act."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import random

from headwater_wire.crashpoint import crashpoint
from headwater_wire.ids import TaskId
from headwater_wire.messages import Evaluated, Failed, Outcome, Progress, Rejected

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import resume, stand_down, step, wake_at_s
from headwater_agent.core.session import Session
from headwater_agent.core.telling import progress
from headwater_agent.effects import Effects
from headwater_agent.ports import Journal, Vitals

_INBOX = 256
_BUSY_S = 10  # with a task, also if the last Sync knew of none: whoever waits for it sees it move
SYNC_APART_S = 0.05  # whoever rings in a row is answered at once, then in this rhythm
_log = logging.getLogger(__name__)


@dataclass
class Shell:
    """Runs one session. `session` is what was saved last; `changed` is told of each one saved."""

    session: Session
    journal: Journal
    changed: Callable[[Session], None] = lambda session: None
    inbox: asyncio.Queue[on.Event] = field(default_factory=lambda: asyncio.Queue(_INBOX))
    _running: dict[Hashable, asyncio.Task[None]] = field(default_factory=dict)
    _sync_again: bool = False

    async def deliver(self, event: on.Event) -> None:
        """Hand an event over; waits while the machine is behind."""
        await self.inbox.put(event)

    def vitals(self, live: Mapping[TaskId, Progress]) -> Vitals:
        """Say what the next heartbeat tells; `live` is how far each training and transfer is."""
        session = self.session
        pace_s = min(session.heartbeat_s, _BUSY_S) if session.held else session.heartbeat_s
        return Vitals(session.revision, progress(session, live), pace_s)

    async def run(self, effects: Effects) -> None:
        """Decide until cancelled; then remember that this was a stop in good order, which a crash is not."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as tasks:
                session, commands = resume(self.session, at_s=loop.time())
                while True:
                    await self._remember(session)
                    self._mark(commands)
                    for command in commands:
                        self._start(tasks, effects, command)
                    event = await self._next()
                    session, commands = step(self.session, event, at_s=loop.time(), uploading=effects.uploading)
                    if isinstance(event, on.Synced | on.Connected | on.Rung):
                        effects.nudge()
        except asyncio.CancelledError:
            await asyncio.shield(self._remember(stand_down(self.session, at_s=loop.time())))
            raise

    async def _remember(self, session: Session) -> None:
        if session != self.session:
            await self.journal.save(session)
            _tell(self.session, session)
            self.session = session
            self.changed(session)

    async def _next(self) -> on.Event:
        """Wait for an event, or for the next deadline."""
        wake_s = wake_at_s(self.session)
        try:
            async with asyncio.timeout_at(wake_s):
                return await self.inbox.get()
        except TimeoutError:
            return on.TimePassed(chance=random())  # noqa: S311 (jitter, no secret)

    def _mark(self, commands: tuple[do.Command, ...]) -> None:
        """Pass the steps at which a test may kill us: the session is saved, nothing has been done about it."""
        for command in commands:
            if isinstance(command, do.Fetch):
                crashpoint("agent.assigned")
            elif isinstance(command, do.Upload):
                crashpoint("agent.spooled")

    def _start(self, tasks: asyncio.TaskGroup, effects: Effects, command: do.Command) -> None:
        match command:
            case do.StopTraining() | do.PauseFetching() | do.AbandonInstall() | do.Drop():
                if running := self._running.get(_key(command)):
                    running.cancel()
            case do.Sync() if (syncing := self._running.get(_key(command))) and not syncing.done():
                self._sync_again = True
                return
        key = _key(command)
        before = self._running.get(key)
        task = tasks.create_task(self._perform(effects, command, before), name=f"agent.{type(command).__name__}")
        self._running[key] = task
        task.add_done_callback(lambda task: self._forget(key, task))

    async def _perform(self, effects: Effects, command: do.Command, before: asyncio.Task[None] | None) -> None:
        if before is not None:  # the same task's last command, stopped or about to end
            await asyncio.wait([before])
        event = await effects.perform(command)
        if event is not None:
            await self.deliver(event)
        while isinstance(command, do.Sync) and self._sync_again:
            self._sync_again = False
            await asyncio.sleep(SYNC_APART_S)
            if again := await effects.perform(command):
                await self.deliver(again)

    def _forget(self, key: Hashable, task: asyncio.Task[None]) -> None:
        with suppress(KeyError):
            if self._running[key] is task:
                del self._running[key]


def _tell(before: Session, after: Session) -> None:
    """Log what a person would look for on the box: what was taken on, and what became of it."""
    held = {held.task.id for held in before.held}
    for new in after.held:
        if new.task.id not in held:
            _log.info("task %s: accepted, dataset %s, base %s", new.task.id, new.task.dataset, new.task.base_version)
    if after.box.waiting != before.box.waiting:
        _log.info("trains nothing now: %s", after.box.waiting) if after.box.waiting else _log.info("may train again")
    for report in after.reports:
        if report not in before.reports:
            _log.log(
                logging.INFO if isinstance(report.outcome, Evaluated) else logging.WARNING,
                "task %s: %s",
                report.task,
                _told(report.outcome),
            )
    if after.dropped != before.dropped:
        _log.warning("the spool's quota: %d deltas dropped so far (%d bytes)", after.dropped.deltas, after.dropped.size)
    for install in after.install_reports:
        if install not in before.install_reports:
            _log.info("install of %s, generation %d: %s", install.model, install.generation, install.problem or "done")


def _told(outcome: Outcome) -> str:
    match outcome:
        case Evaluated(found):
            return f"scored {found.holdout_examples} examples, loss {found.holdout_loss:.4f}"
        case Rejected(reason):
            return f"rejected: {reason}"
        case Failed(reason):
            return f"failed: {reason}"


def _key(command: do.Command) -> Hashable:
    """Name what a command works on: what stops it has the same name."""
    match command:
        case do.Fetch(task) | do.Train(task):
            return "task", task.id
        case do.StopTraining(task_id) | do.PauseFetching(task_id):
            return "task", task_id
        case do.PauseTraining(task_id):  # beside the training, which it does not wait for
            return "pause", task_id
        case do.Upload(task):
            return "spool", task.id
        case do.Discard(task_id) | do.Drop(task_id):
            return "spool", task_id
        case do.FetchVersion(deployment) | do.Install(deployment):
            return "install", deployment.model, deployment.generation
        case do.AbandonInstall(model, generation):
            return "install", model, generation
        case do.Sync() | do.Announce():
            return type(command).__name__
