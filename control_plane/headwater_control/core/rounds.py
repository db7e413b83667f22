"""The state machine of runs and rounds: `plan` says what to do, `close` and `advance` what follows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from headwater_wire.ids import DeviceId, VersionId
from headwater_wire.manifest import Manifest
from headwater_wire.messages import Phase

from headwater_control.core.fleet import Device, Patience, lost_at
from headwater_control.core.runs import Round, RoundState, Run, RunState, TaskRecord, TaskState
from headwater_control.core.scheduler import Draw, Shortage, draw, spares

ABANDONED_IN_A_ROW = 3
# A box trains one task at a time and sends few deltas at once: to wait for its turn is no lack of progress.
_QUEUED = frozenset({Phase.ACCEPTED, Phase.SPOOLED})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `plan` looks at: one round, whatever their number."""

    run: Run
    round: Round | None  # the current one; None: not opened
    tasks: tuple[TaskRecord, ...]  # of the round, in selection order
    devices: tuple[Device, ...]  # the cohort, and whoever has a task
    manifest: Manifest
    patience: Patience


@dataclass(frozen=True, slots=True)
class Open:
    """Open the current round: it selects."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Note why the round can't ask anybody yet."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Give each drawn device a task: the round collects."""

    draw: Draw


@dataclass(frozen=True, slots=True)
class AskMore:
    """Give spare devices tasks, since others dropped out."""

    devices: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """An open task that its round is not waiting for any more, and why."""

    task: TaskRecord
    state: TaskState
    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """End collecting: whatever is still open is dropped, the rest merges if it is enough."""

    why: str
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True, slots=True)
class Merge:
    """Fold the frozen deltas into the next version."""


Decision = Open | Wait | Ask | AskMore | Close | Merge


def plan(view: Snapshot, now: datetime) -> tuple[Decision, ...]:
    """Say what is to be done now. Nothing: wait for a change, or until `next_wake`."""
    if view.run.state.final:
        return ()
    runs = view.run.state is RunState.RUNNING
    match view.round.state if view.round else None:
        case None if runs:
            return (Open(),)
        case RoundState.SELECTING if runs:
            return _select(view, now)
        case RoundState.COLLECTING:
            return _collect(view, now)
        case RoundState.MERGING:
            return (Merge(),)
        case _:  # paused between rounds
            return ()


def next_wake(view: Snapshot, now: datetime) -> datetime | None:
    """Say when time alone changes what `plan` says; None if only an event can."""
    if view.round is None or view.round.state is not RoundState.COLLECTING or view.run.state.final:
        return None
    moments = [view.round.deadline] if view.round.deadline else []
    if not view.run.spec.reproducible:
        moments += [moment for _, moment, _ in _given_up(view)]
    return min((moment for moment in moments if moment > now), default=None)


def reports_awaited(view: Snapshot, now: datetime) -> int:
    """Say how many more tasks must succeed before that alone changes what `plan` says; at least 1."""
    if view.round is None or view.round.state is not RoundState.COLLECTING:
        return 1
    waiting = sum(task.state is TaskState.OPEN for task in view.tasks)
    reported = sum(task.state is TaskState.SUCCEEDED for task in view.tasks)
    able = waiting if view.run.spec.reproducible else sum(now < moment for _, moment, _ in _given_up(view))
    return max(1, min(view.round.target - reported, able))


def opened(run: Run, now: datetime) -> Round:
    """Make a run's current round. The one after the last only scores the newest version."""
    return Round(
        run=run.id,
        number=run.round,
        state=RoundState.SELECTING,
        base=run.version,
        evaluate=run.round > run.spec.rounds,
        opened_at=now,
    )


def close(
    run: Run, record: Round, tasks: Sequence[TaskRecord], before: Sequence[Round], why: str, now: datetime
) -> tuple[Run, Round]:
    """Say what becomes of a run and a collecting round that has no open task left."""
    succeeded = tuple(task.id for task in tasks if task.state is TaskState.SUCCEEDED)
    if len(succeeded) < record.quorum:
        reason = f"{len(succeeded)} of {len(tasks)} asked reported, at least {record.quorum} had to: {why}"
        if told := next((task for task in tasks if task.state in {TaskState.FAILED, TaskState.REJECTED}), None):
            reason += f"; {told.device} said: {told.reason}"
        record = replace(record, state=RoundState.ABANDONED, collected_at=now, closed_at=now, reason=reason)
        return advance(run, record, before, now), record
    if record.evaluate:
        record = replace(record, state=RoundState.COMMITTED, collected_at=now, closed_at=now)
        return advance(run, record, before, now), record
    return run, replace(record, state=RoundState.MERGING, frozen=succeeded, collected_at=now)


def abandoned(run: Run, record: Round, before: Sequence[Round], reason: str, now: datetime) -> tuple[Run, Round]:
    """Say what becomes of a run whose round can't be merged."""
    record = replace(record, state=RoundState.ABANDONED, closed_at=now, reason=reason)
    return advance(run, record, before, now), record


def spoiled(run: Run, record: Round, reason: str, now: datetime) -> tuple[Run, Round]:
    """Say what becomes of a run whose round can't ask anybody, now or later: to try it again would change nothing."""
    record = replace(record, state=RoundState.ABANDONED, closed_at=now, reason=reason)
    return replace(run, state=RunState.FAILED, reason=reason, ended_at=now), record


def merged(run: Run, record: Round, version: VersionId, now: datetime) -> tuple[Run, Round]:
    """Say what becomes of a run and a merging round whose version is made."""
    record = replace(record, state=RoundState.COMMITTED, merged=version, closed_at=now)
    return advance(replace(run, version=version), record, (), now), record


def advance(run: Run, ended: Round, before: Sequence[Round], now: datetime) -> Run:
    """Say where a run stands after a round: at the next one, or at its end. An abandoned round counts as one."""
    failed = ended.state is RoundState.ABANDONED
    if ended.evaluate:
        reason = f"the last version has no score: {ended.reason}" if failed else ""
        return replace(run, state=RunState.COMPLETED, reason=reason, ended_at=now)
    if failed:
        latest = [ended, *sorted(before, key=lambda record: -record.number)][:ABANDONED_IN_A_ROW]
        if len(latest) == ABANDONED_IN_A_ROW and all(record.state is RoundState.ABANDONED for record in latest):
            reason = f"{ABANDONED_IN_A_ROW} rounds in a row were abandoned; the last one: {ended.reason}"
            return replace(run, state=RunState.FAILED, reason=reason, ended_at=now)
        if ended.number >= run.spec.rounds and run.version == run.spec.base:
            reason = f"no round was merged; the last one: {ended.reason}"
            return replace(run, state=RunState.FAILED, reason=reason, ended_at=now)
    return replace(run, round=ended.number + 1, reason="")


def _select(view: Snapshot, now: datetime) -> tuple[Decision, ...]:
    assert view.round is not None
    match draw(view.run.spec, view.round.number, view.devices, view.manifest, now, view.patience):
        case Draw() as drawn:
            return (Ask(drawn),)
        case Shortage(reason) if reason != view.round.reason or reason != view.run.reason:
            return (Wait(reason),)
        case Shortage():
            return ()


def _collect(view: Snapshot, now: datetime) -> tuple[Decision, ...]:
    assert view.round is not None
    assert view.round.deadline is not None
    spec, target = view.run.spec, view.round.target
    waiting = [task for task in view.tasks if task.state is TaskState.OPEN]
    reported = sum(task.state is TaskState.SUCCEEDED for task in view.tasks)
    if reported >= target:
        lost = {task.id: f": {why}" for task, moment, why in _given_up(view) if moment <= now}
        dropped = tuple(
            Dropped(task, TaskState.CANCELLED, f"the round closed without it{lost.get(task.id, '')}")
            for task in waiting
        )
        return (Close("the target was reached", dropped),)
    if now >= view.round.deadline:
        dropped = tuple(Dropped(task, TaskState.TIMED_OUT, "the round's deadline passed") for task in waiting)
        return (Close("the deadline passed", dropped),)
    if spec.reproducible:
        return () if waiting else (Close("nobody was left who could still report", ()),)
    given_up = _given_up(view)
    able = sum(now < moment for _, moment, _ in given_up)
    if lacking := max(0, target - reported - able):
        asked = frozenset(task.device for task in view.tasks)
        fresh = spares(spec, view.round.number, view.devices, asked, view.manifest, now, view.patience)[:lacking]
        if fresh:
            return (AskMore(fresh),)
    if able:
        return ()
    dropped = tuple(
        Dropped(task, TaskState.CANCELLED, f"the round closed without it: {why}") for task, _, why in given_up
    )
    return (Close("nobody was left who could still report", dropped),)


def _given_up(view: Snapshot) -> list[tuple[TaskRecord, datetime, str]]:
    """Say of each open task from when on it is not waited for, and why, if nothing is heard of it until then."""
    devices = {device.id: device for device in view.devices}
    patience_s = view.run.spec.progress_deadline_s
    found = []
    for task in view.tasks:
        if task.state is not TaskState.OPEN:
            continue
        device = devices[task.device]
        lost = lost_at(device, view.patience)
        stalled = max(task.progress_at or task.opened_at, view.patience.since) + timedelta(seconds=patience_s)
        if lost <= stalled or task.phase in _QUEUED:
            found.append((task, lost, "the device is silent" if device.online else "the device is offline"))
        else:
            found.append((task, stalled, f"no progress for {patience_s:g} s"))
    return found
