"""How much of the box's disk deltas may take that wait for their upload, how long they may, and which are dropped."""

from collections.abc import Iterator

from headwater_wire.ids import TaskId
from headwater_wire.messages import Task

from headwater_agent.core.session import DAY_MS, Held, Quota, Session, Stage


def storage_objection(quota: Quota, task: Task) -> str:
    """Say why a task's delta could not be kept here; nothing, if it could. It is as large as its base version."""
    if not task.plan.train or task.base.size <= quota.max_bytes:
        return ""
    return (
        f"this box can't keep its delta until the upload: that has {task.base.size} bytes, and spool.max_bytes in the "
        f"agent's configuration is {quota.max_bytes}"
    )


def overdue(session: Session, now_ms: int, uploading: frozenset[TaskId]) -> Iterator[tuple[Held, str]]:
    """Name the deltas to drop, the oldest first, each with why: those too old, then what is too much.

    One that is being uploaded stays, however old: what it takes is about to be free.
    """
    quota = session.box.quota
    spooled = [held for held in session.held if held.stage is Stage.SPOOLED]
    taken = sum(_size(held) for held in spooled)
    for held in sorted(spooled, key=lambda held: (held.spooled_ms, held.number)):
        if held.task.id in uploading:
            continue
        age_ms = now_ms - held.spooled_ms if held.spooled_ms else 0
        if age_ms > quota.max_age_ms:
            why = f"it waited {age_ms / DAY_MS:.1f} days for its upload, and spool.max_days is {quota.max_days:g}"
        elif taken > quota.max_bytes:
            why = f"the spool had {taken} bytes, and spool.max_bytes is {quota.max_bytes}: the oldest goes first"
        else:
            continue
        taken -= _size(held)
        yield held, f"its delta was dropped: {why}"


def _size(held: Held) -> int:
    return held.delta.size if held.delta else 0
