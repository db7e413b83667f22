"""A held task's way: begun, put off, uploaded, reported, finished."""

from dataclasses import replace

from headwater_wire.messages import Failed, Outcome, Rejected, TaskReport

from headwater_agent.core import commands as do
from headwater_agent.core.eligibility import denial_key, policy_objection
from headwater_agent.core.session import DAY_MS, Denied, Finished, Held, Session, Stage

DENIED_MS = DAY_MS
FINISHED_KEPT = 1000  # an older copy is stopped by its revision anyway

Next = tuple[Session, tuple[do.Command, ...]]


def settle(session: Session, at_s: float) -> Next:
    """Let what is too late go, and begin the next task if none is being worked on."""
    now_ms = session.time.now_ms(at_s)
    commands: tuple[do.Command, ...] = ()
    for held in session.held:
        if held.stage is Stage.SPOOLED or now_ms < held.task.deadline_ms:
            continue
        if held.stage is Stage.ACCEPTED and not held.attempts:
            session = finish(session, held)
        else:
            commands += stop(held)
            session, more = report(session, held, Failed("its deadline passed before it was trained"))
            commands += more
    finished = tuple(item for item in session.finished if now_ms < item.deadline_ms)[-FINISHED_KEPT:]
    denied = tuple(item for item in session.denied if now_ms < item.until_ms)
    if (finished, denied) != (session.finished, session.denied):
        session = replace(session, finished=finished, denied=denied)
    if any(held.stage in {Stage.FETCHING, Stage.TRAINING} for held in session.held):
        return session, commands
    for held in session.held:
        if held.stage is not Stage.ACCEPTED:
            continue
        if refused := policy_objection(session, held.task, now_ms=now_ms):  # a restart brought another policy, perhaps
            session, more = report(session, held, Rejected(refused))
            commands += more
            continue
        return put(session, replace(held, stage=Stage.FETCHING)), (*commands, do.Fetch(held.task))
    return session, commands


def start(session: Session, held: Held) -> Next:
    """Count an attempt, then train."""
    started = replace(held, stage=Stage.TRAINING, attempts=held.attempts + 1)
    return put(session, started), (do.Train(held.task, started.attempts),)


def upload(held: Held) -> do.Upload:
    """Make the command that offers a spooled delta."""
    assert held.delta is not None and held.metrics is not None, "a spooled task has both"
    return do.Upload(held.task, held.attempts, held.delta, held.metrics)


def stop(held: Held) -> tuple[do.Command, ...]:
    """Make the command that ends what is being done for a task, if anything is."""
    return (do.StopTraining(held.task.id),) if held.stage in {Stage.FETCHING, Stage.TRAINING} else ()


def give_up(session: Session, held: Held, how: str, at_s: float) -> Next:
    """Fail a task that keeps ending the worker, and deny what it is made of for a day."""
    reason = f"training it ended the worker {held.attempts} times, the last time so: {how}"
    denied = Denied(
        denial_key(held.task, session.dataset(held.task.dataset)),
        f"this model on dataset {held.task.dataset!r} is not tried for a day, since {reason}",
        session.time.now_ms(at_s) + DENIED_MS,
    )
    return report(replace(session, denied=(*session.denied, denied)), held, Failed(reason))


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
