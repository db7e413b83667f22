"""Whether this box can take a task, and if not, why."""

from headwater_wire.messages import Task

from headwater_agent.core import novelty, policy
from headwater_agent.core.quota import storage_objection
from headwater_agent.core.session import DatasetFact, Session, Stage

MAX_HELD = 64  # more would only pile up behind one worker


def objection(session: Session, task: Task, *, now_ms: int) -> str:
    """Say why `task` can't be done here; nothing, if it can."""
    if session.box.refusal:
        return session.box.refusal
    if refused := dataset_objection(session, task):
        return refused
    if refused := policy_objection(session, task, now_ms=now_ms):
        return refused
    if task.plan.train and (stale := novelty.objection(session, task.dataset)):
        return f"dataset {task.dataset!r}: {stale}"
    if denied := denial(session, task, now_ms=now_ms):
        return denied
    if refused := storage_objection(session.box.quota, task):
        return refused
    if len(session.held) >= MAX_HELD:
        return f"this device already holds {len(session.held)} tasks"
    return ""


def dataset_objection(session: Session, task: Task) -> str:
    """Say why what `task` is about can't be used, or isn't here; nothing, if it can be."""
    dataset = session.dataset(task.dataset)
    if dataset is None:
        known = ", ".join(sorted(fact.name for fact in session.box.datasets)) or "none"
        return f"this device has no dataset {task.dataset!r} (it has: {known}); declare it in the agent's configuration"
    return f"dataset {dataset.name!r} can't be used: {dataset.problem}" if dataset.problem else ""


def policy_objection(session: Session, task: Task, *, now_ms: int) -> str:
    """Say what of the owner's policy refuses `task`, be it new or held; nothing, if nothing does."""
    dataset = session.dataset(task.dataset)
    others = [held for held in session.held if held.task.id != task.id]
    coming = sum(held.task.base.size for held in others if held.stage is not Stage.SPOOLED and held.task.plan.train)
    return policy.objection(
        session.box.policy,
        task,
        examples=dataset.examples if dataset else None,
        up_bytes=session.sent.on(now_ms) + coming,
    )


def denial(session: Session, task: Task, *, now_ms: int) -> str:
    """Say why what `task` is made of is not tried at present; nothing, if it may be."""
    key = denial_key(task, session.dataset(task.dataset))
    return next((known.reason for known in session.denied if known.key == key and known.holds(now_ms)), "")


def denial_key(task: Task, dataset: DatasetFact | None) -> str:
    """Name what must not be tried together again: another bundle, or changed data, may."""
    return f"{task.bundle.digest}:{task.dataset}:{dataset.fingerprint if dataset else ''}"
