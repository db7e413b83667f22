"""Runs, rounds and tasks of the store in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from headwater_control.core.runs import Round, Run, RunState, TaskRecord, TaskState
from headwater_wire.ids import DeviceId, RunId, TaskId
from headwater_wire.messages import Blob, Metrics, Progress

from tests.fakes.memory_tables import Lease, Tables, must_have, must_lack


class MemoryRuns:
    """Runs and rounds."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, run: Run) -> None:
        must_lack(self._tables.runs, run.id, "run")
        must_have(self._tables.versions, run.version)
        self._tables.change().runs[run.id] = run

    async def get(self, run: RunId, *, lock: bool = False) -> Run | None:
        return (self._tables.change() if lock else self._tables).runs.get(run)

    async def all(self, states: Collection[RunState] = ()) -> tuple[Run, ...]:
        rows = (row for row in self._tables.runs.values() if not states or row.state in states)
        return tuple(sorted(rows, key=lambda row: (row.created_at, row.id)))

    async def save(self, run: Run, *, token: int | None = None) -> None:
        must_have(self._tables.runs, run.id)
        must_have(self._tables.versions, run.version)
        self._tables.lead_by(run.id, token)
        self._tables.change().runs[run.id] = run

    async def lead(self, run: RunId, holder: str, now: datetime, ttl_s: float) -> int | None:
        tables = self._tables.change()
        must_have(tables.runs, run)
        lease = tables.leases.get(run)
        if lease is not None and lease.holder != holder and lease.until > now:
            return None
        renewed = lease is not None and lease.holder == holder
        token = (lease.token if lease else 0) + (0 if renewed else 1)
        tables.leases[run] = Lease(holder, now + timedelta(seconds=ttl_s), token)
        return token

    async def round(self, run: RunId, number: int, *, lock: bool = False) -> Round | None:
        return (self._tables.change() if lock else self._tables).rounds.get((run, number))

    async def rounds(self, run: RunId) -> tuple[Round, ...]:
        return tuple(row for key, row in sorted(self._tables.rounds.items()) if key[0] == run)

    async def save_round(self, record: Round, *, token: int | None = None) -> None:
        must_have(self._tables.runs, record.run)
        self._tables.lead_by(record.run, token)
        self._tables.change().rounds[record.run, record.number] = record


class MemoryTasks:
    """Tasks."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, tasks: Sequence[TaskRecord]) -> None:
        tables = self._tables.change()
        rows = tables.tasks.copy()
        for task in tasks:
            must_lack(rows, task.id, "task")
            must_have(tables.rounds, (task.run, task.round))
            must_have(tables.devices, task.device)
            rows[task.id] = task
        tables.tasks = rows

    async def get(self, task: TaskId, *, lock: bool = False) -> TaskRecord | None:
        return (self._tables.change() if lock else self._tables).tasks.get(task)

    async def lock(self, tasks: Collection[TaskId]) -> None:
        self._tables.change()

    async def of_round(self, run: RunId, number: int) -> tuple[TaskRecord, ...]:
        rows = (row for row in self._tables.tasks.values() if (row.run, row.round) == (run, number))
        return tuple(sorted(rows, key=lambda row: (row.order, row.id)))

    async def open_of(self, device: DeviceId) -> tuple[TaskRecord, ...]:
        rows = self._tables.tasks.values()
        mine = (row for row in rows if row.device == device and row.state is TaskState.OPEN)
        return tuple(sorted(mine, key=lambda row: (row.opened_at, row.id)))

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
        rows = self._tables.change().tasks
        known = rows.get(task)
        if known is None or known.state is not TaskState.OPEN:
            return False
        rows[task] = replace(
            known,
            state=state,
            closed_at=at,
            reason=reason,
            delta=delta,
            codec=codec,
            metrics=metrics,
            bytes_up=delta.size if delta else 0,
        )
        return True

    async def drop(self, task: TaskId, *, at: datetime, reason: str) -> bool:
        rows = self._tables.change().tasks
        known = rows.get(task)
        if known is None or known.state is not TaskState.SUCCEEDED:
            return False
        rows[task] = replace(known, state=TaskState.CANCELLED, closed_at=at, reason=reason, delta=None)
        return True

    async def note(self, progress: Sequence[tuple[DeviceId, Progress]], at: datetime) -> None:
        rows = self._tables.change().tasks
        for device, line in progress:
            known = rows.get(line.task)
            if known is None or known.device != device or known.state is not TaskState.OPEN:
                continue
            moved = (known.phase, known.step) != (line.phase, line.step)
            rows[line.task] = replace(
                known,
                phase=line.phase,
                step=line.step,
                steps=line.steps,
                loss=line.loss,
                waiting_for=line.waiting_for,
                progress_at=at if moved else known.progress_at,
            )

    async def late(self, task: TaskId, at: datetime) -> None:
        tables = self._tables.change()
        known = tables.tasks.get(task)
        if known is None or known.state is TaskState.OPEN or known.late_at is not None:
            return
        tables.tasks[task] = replace(known, late_at=at)
        device = tables.devices[known.device]
        tables.devices[known.device] = replace(device, late=device.late + 1)

    async def add_bytes_down(self, task: TaskId, size: int) -> None:
        rows = self._tables.change().tasks
        if task in rows:
            rows[task] = replace(rows[task], bytes_down=rows[task].bytes_down + size)
