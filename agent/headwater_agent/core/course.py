"""A held task's way: begun, put off, uploaded, reported, finished."""

from collections.abc import Mapping
from dataclasses import replace

from headwater_wire.ids import TaskId
from headwater_wire.messages import Failed, Outcome, Rejected, TaskReport

from headwater_agent.core import commands as do
from headwater_agent.core.eligibility import dataset_objection, denial, denial_key, policy_objection
from headwater_agent.core.quota import overdue, storage_objection
from headwater_agent.core.session import DAY_MS, Denied, Dropped, Finished, Held, Session, Stage

DENIED_MS = DAY_MS
ENDED_THE_WORKER = "training it ended the worker"
CREDITS = 20  # of a task: with three tries each it ends its worker, or the box, 63 times at the very most
FINISHED_KEPT = 1000  # an older copy is stopped by its revision anyway
# Beyond a task's deadline: an answer that comes late sets the time back, and so does the first one after a clock that
# ran fast. Neither may bring a task back to life.
FINISHED_FOR_MS = DAY_MS

Next = tuple[Session, tuple[do.Command, ...]]


def settle(session: Session, at_s: float, uploading: frozenset[TaskId] = frozenset()) -> Next:
    """Let go of what is too late and what the spool has no room for; begin the next task if nothing is under way."""
    now_ms = session.time.now_ms(at_s)
    session, commands = _make_room(session, now_ms, uploading)
    for held in session.held:
        if held.stage is Stage.SPOOLED or now_ms < held.task.deadline_ms:
            continue
        if held.stage is Stage.ACCEPTED and not held.attempts:
            session = finish(session, held)
        else:
            commands += stop(held)
            session, more = report(session, held, Failed("its deadline passed before it was trained"))
            commands += more
    finished = tuple(item for item in session.finished if now_ms < item.deadline_ms + FINISHED_FOR_MS)
    finished = finished[-FINISHED_KEPT:]
    denied = tuple(item for item in session.denied if item.holds(now_ms))
    if (finished, denied) != (session.finished, session.denied):
        session = replace(session, finished=finished, denied=denied)
    if session.box.waiting or any(held.stage in {Stage.FETCHING, Stage.TRAINING} for held in session.held):
        return session, commands
    for held in session.held:
        if held.stage is not Stage.ACCEPTED:
            continue
        # A restart brought other datasets or another policy, perhaps, or another task of the same model was denied.
        refused = (
            dataset_objection(session, held.task)
            or policy_objection(session, held.task, now_ms=now_ms)
            or storage_objection(session.box.quota, held.task)
            or denial(session, held.task, now_ms=now_ms)
        )
        if refused:
            leftovers = stop(held)
            session, more = report(session, held, Rejected(refused))
            commands += (*leftovers, *more)
            continue
        return put(session, replace(held, stage=Stage.FETCHING)), (*commands, do.Fetch(held.task))
    return session, commands


def _make_room(session: Session, now_ms: int, uploading: frozenset[TaskId]) -> Next:
    """Drop what the spool's quota does not let stay, and report it."""
    commands: tuple[do.Command, ...] = ()
    for held, why in tuple(overdue(session, now_ms, uploading)):
        size = held.delta.size if held.delta else 0
        session = replace(session, dropped=Dropped(session.dropped.deltas + 1, session.dropped.size + size))
        session, more = report(session, held, Failed(why))
        commands += (do.Drop(held.task.id), *more)
    return session, commands


def start(session: Session, held: Held) -> Next:
    """Count an attempt, then train; where the conditions are lost by now, wait for them."""
    if session.box.waiting:
        return put(session, replace(held, stage=Stage.ACCEPTED)), ()
    started = replace(held, stage=Stage.TRAINING, attempts=held.attempts + 1)
    return put(session, started), (do.Train(held.task, started.attempts),)


def hold_back(session: Session) -> Next:
    """Have what is under way wait for its conditions: a training leaves a checkpoint first."""
    commands: tuple[do.Command, ...] = ()
    for held in session.held:
        if held.stage is Stage.FETCHING:
            session = put(session, replace(held, stage=Stage.ACCEPTED))
            commands += (do.PauseFetching(held.task.id),)
        elif held.stage is Stage.TRAINING:
            commands += (do.PauseTraining(held.task.id),)
    return session, commands


def put_off(held: Held) -> Held:
    """Let a training that was ended in good order wait for its turn: it counts for no attempt."""
    return replace(held, stage=Stage.ACCEPTED, pauses=held.pauses + 1)


def credited(session: Session, reached: Mapping[TaskId, int]) -> Session:
    """Say, before `resume`, how far the trainings had come that a crash of the agent or the box cut short."""
    for held in session.held:
        if held.stage is Stage.TRAINING:
            session = put(session, came_to(held, reached.get(held.task.id, 0)))
    return session


def came_to(held: Held, reached: int) -> Held:
    """Count no try against a training that came further than when it was cut short before, nor those before that.

    So often only: how far it came is the word of a checkpoint's head, which a graph that has taken the worker over
    could write.
    """
    if reached <= held.reached or held.credits >= CREDITS:
        return held
    return replace(held, reached=reached, pauses=held.attempts, credits=held.credits + 1)


def begin_days(session: Session) -> Session:
    """Let the days begin, now that the time is known, for which something is denied."""
    until_ms = session.time.server_ms + DENIED_MS
    denied = (replace(item, until_ms=until_ms) if item.until_ms is None else item for item in session.denied)
    return replace(session, denied=tuple(denied))


def upload(held: Held) -> do.Upload:
    """Make the command that offers a spooled delta."""
    assert held.delta is not None and held.metrics is not None, "a spooled task has both"
    return do.Upload(held.task, held.attempts, held.delta, held.metrics)


def stop(held: Held) -> tuple[do.Command, ...]:
    """Make the command that ends what is being done for a task, and drops its checkpoints, if there is any of that."""
    idle = held.stage is Stage.SPOOLED or (held.stage is Stage.ACCEPTED and not held.attempts)
    return () if idle else (do.StopTraining(held.task.id),)


def give_up(session: Session, held: Held, how: str, at_s: float) -> Next:
    """Fail a task that keeps ending the worker, and deny what it is made of for a day."""
    reason = f"{ENDED_THE_WORKER} {held.tries} times, the last time so: {how}"
    denied = Denied(
        denial_key(held.task, session.dataset(held.task.dataset)),
        f"this model on dataset {held.task.dataset!r} is not tried for a day, since {reason}",
        session.time.now_ms(at_s) + DENIED_MS if session.time.sure else None,
    )
    told = Failed(f"{reason}; this device does not try this model on this data again for a day")
    session, commands = report(replace(session, denied=(*session.denied, denied)), held, told)
    return session, (*stop(held), *commands)


def report(session: Session, held: Held, outcome: Outcome) -> Next:
    """End a task by an outcome that the next Sync carries."""
    session = finish(session, held)
    return replace(session, reports=(*session.reports, TaskReport(held.task.id, outcome))), (do.Sync(),)


def finish(session: Session, held: Held) -> Session:
    """Let a task go, and remember it until its deadline."""
    return replace(
        session,
        held=tuple(other for other in session.held if other.task.id != held.task.id),
        finished=(*session.finished, Finished(held.task.id, held.task.deadline_ms)),
    )


def put(session: Session, held: Held) -> Session:
    """Replace what is known of a held task."""
    return replace(session, held=tuple(held if h.task.id == held.task.id else h for h in session.held))
