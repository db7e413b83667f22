"""The table and repository of tasks."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import datetime

import sqlalchemy as sa
from headwater_wire.ids import DeviceId, Digest, RunId, TaskId
from headwater_wire.messages import Blob, Metrics, Phase, Progress
from sqlmodel import Field, SQLModel

from headwater_control.core.runs import TaskRecord, TaskState
from headwater_control.edges.store.columns import Name, Real, Record, Utc, Whole, Words
from headwater_control.edges.store.rows import Row, Rows


class TaskRow(SQLModel, table=True):
    """One task."""

    __tablename__ = "task"
    __table_args__ = (
        sa.ForeignKeyConstraint(["run", "round"], ["round.run", "round.number"], name="fk_task_round"),
        sa.Index("ix_task_round", "run", "round", "order"),
        sa.Index("ix_task_device_state", "device", "state"),
    )

    id: str = Field(primary_key=True, sa_type=Name)
    run: str = Field(sa_type=Name)
    round: int = Field(sa_type=Whole)
    device: str = Field(foreign_key="device.id", sa_type=Name)
    order: int = Field(sa_type=Whole)
    state: str = Field(sa_type=Name)
    opened_at: datetime = Field(sa_type=Utc)
    deadline: datetime = Field(sa_type=Utc)
    phase: str | None = Field(sa_type=Name)
    step: int = Field(sa_type=Whole)
    steps: int = Field(sa_type=Whole)
    loss: float | None = Field(sa_type=Real)
    waiting_for: str = Field(sa_type=Words)
    progress_at: datetime | None = Field(sa_type=Utc)
    reason: str = Field(sa_type=Words)
    delta_digest: str | None = Field(sa_type=Name)
    delta_size: int | None = Field(sa_type=Whole)
    codec: str = Field(sa_type=Name)
    metrics: Metrics | None = Field(sa_column=sa.Column(Record(Metrics)))
    bytes_up: int = Field(sa_type=Whole)
    bytes_down: int = Field(sa_type=Whole)
    closed_at: datetime | None = Field(sa_type=Utc)
    late_at: datetime | None = Field(sa_type=Utc)


_TABLE = SQLModel.metadata.tables["task"]
_C = _TABLE.c
_DEVICE = SQLModel.metadata.tables["device"]
_FIELDS = [field.name for field in fields(TaskRecord) if field.name != "delta"]
_OPEN = _C.state == TaskState.OPEN.value
_IDS_PER_STATEMENT = 1_000  # both databases bind at most 32 thousand values


class SqlTasks:
    """Tasks."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def add(self, tasks: Sequence[TaskRecord]) -> None:
        """Insert; raise `AlreadyExists` if an id is taken."""
        if tasks:
            async with self._rows.all_or_nothing():
                await self._rows.change(sa.insert(_TABLE), [_values(task) for task in tasks])

    async def get(self, task: TaskId, *, lock: bool = False) -> TaskRecord | None:
        """Read one."""
        row = await self._rows.one(sa.select(_TABLE).where(_C.id == task), lock=lock)
        return None if row is None else _task(row)

    async def lock(self, tasks: Collection[TaskId]) -> None:
        """Let nobody else change these until the transaction ends; in order of id, so that nobody waits in a circle."""
        ids = sorted(set(tasks))
        for start in range(0, len(ids), _IDS_PER_STATEMENT):
            some = ids[start : start + _IDS_PER_STATEMENT]
            await self._rows.lock(sa.select(_C.id).where(_C.id.in_(some)).order_by(_C.id))

    async def of_round(self, run: RunId, number: int) -> tuple[TaskRecord, ...]:
        """List a round's, in selection order."""
        query = sa.select(_TABLE).where(_C.run == run, _C.round == number).order_by(_C.order, _C.id)
        return tuple(_task(row) for row in await self._rows.all(query))

    async def open_of(self, device: DeviceId) -> tuple[TaskRecord, ...]:
        """List a device's open ones, oldest first."""
        query = sa.select(_TABLE).where(_C.device == device, _OPEN).order_by(_C.opened_at, _C.id)
        return tuple(_task(row) for row in await self._rows.all(query))

    async def close(
        self,
        task: TaskId,
        state: TaskState,
        *,
        at: datetime,
        reason: str = "",
        delta: Blob | None = None,
        codec: str = "",
        metrics: Metrics | None = None,
    ) -> bool:
        """End an open task; say False, changing nothing, if it has ended already. A delta's size becomes bytes_up."""
        ended = await self._rows.change(
            sa.update(_TABLE)
            .where(_C.id == task, _OPEN)
            .values(
                state=state.value,
                closed_at=at,
                reason=reason,
                delta_digest=delta.digest if delta else None,
                delta_size=delta.size if delta else None,
                codec=codec,
                metrics=metrics,
                bytes_up=delta.size if delta else 0,
            )
        )
        return ended == 1

    async def drop(self, task: TaskId, *, at: datetime, reason: str) -> bool:
        """Cancel one that has succeeded, and forget its delta; say False, changing nothing, if it has not."""
        dropped = await self._rows.change(
            sa.update(_TABLE)
            .where(_C.id == task, _C.state == TaskState.SUCCEEDED.value)
            .values(state=TaskState.CANCELLED.value, closed_at=at, reason=reason, delta_digest=None, delta_size=None)
        )
        return dropped == 1

    async def note(self, progress: Sequence[tuple[DeviceId, Progress]], at: datetime) -> None:
        """Note phases and steps of open tasks, many at once; of others', or of ended tasks, nothing."""
        lines = [
            {
                "b_task": line.task,
                "b_device": device,
                "b_phase": line.phase.value,
                "b_step": line.step,
                "b_steps": line.steps,
                "b_loss": line.loss,
                "b_waiting": line.waiting_for,
                "at": at,
            }
            for device, line in sorted(progress, key=lambda pair: pair[1].task)  # so that replicas never deadlock
        ]
        if lines:
            await self._rows.change(_NOTE, lines)

    async def add_bytes_down(self, task: TaskId, size: int) -> None:
        """Count what was sent to a task's device for it."""
        await self._rows.change(sa.update(_TABLE).where(_C.id == task).values(bytes_down=_C.bytes_down + size))

    async def late(self, task: TaskId, at: datetime) -> None:
        """Note that an ended task's delta was offered, and count it for its device; a second time changes nothing."""
        first = sa.update(_TABLE).where(_C.id == task, sa.not_(_OPEN), _C.late_at.is_(None)).values(late_at=at)
        for row in await self._rows.change_returning(first.returning(_C.device)):
            counted = sa.update(_DEVICE).where(_DEVICE.c.id == row.device).values(late=_DEVICE.c.late + 1)
            await self._rows.change(counted)


def _note() -> sa.Update:
    phase, step = sa.bindparam("b_phase", type_=Name), sa.bindparam("b_step", type_=Whole)
    moved = sa.or_(_C.phase.is_distinct_from(phase), _C.step != step)
    return (
        sa.update(_TABLE)
        .where(_C.id == sa.bindparam("b_task", type_=Name), _C.device == sa.bindparam("b_device", type_=Name), _OPEN)
        .values(
            phase=phase,
            step=step,
            steps=sa.bindparam("b_steps", type_=Whole),
            loss=sa.bindparam("b_loss", type_=Real),
            waiting_for=sa.bindparam("b_waiting", type_=Words),
            progress_at=sa.case((moved, sa.bindparam("at", type_=Utc)), else_=_C.progress_at),
        )
    )


_NOTE = _note()


def _values(task: TaskRecord) -> dict[str, object]:
    return {name: getattr(task, name) for name in _FIELDS} | {
        "state": task.state.value,
        "phase": task.phase.value if task.phase else None,
        "delta_digest": task.delta.digest if task.delta else None,
        "delta_size": task.delta.size if task.delta else None,
    }


def _task(row: Row) -> TaskRecord:
    values = row._asdict()
    digest, size = values.pop("delta_digest"), values.pop("delta_size")
    return TaskRecord(
        **values
        | {
            "state": TaskState(values["state"]),
            "phase": Phase(values["phase"]) if values["phase"] else None,
            "delta": Blob(Digest(digest), size) if digest is not None else None,
        }
    )
