"""What the simulation knows to be true: every delta ever drawn, and what each box has begun and remembered."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater_agent.core.course import ENDED_THE_WORKER
from headwater_agent.training import protocol
from headwater_control.core.runs import TaskRecord, TaskState
from headwater_wire.ids import Digest, TaskId

from tests.fakes.memory_store import MemoryStore
from tests.simulation.disk import Disk
from tests.simulation.history import History
from tests.simulation.ledger import Rows
from tests.simulation.model import Vector
from tests.simulation.tries import MOST, Tries

_DAY_MS = 24 * 3600 * 1000
_RACE_S = 1.0  # between the moment a task is let go and the end of what was being done for it


@dataclass
class Diary:
    """What one box has remembered and done, over all its lives."""

    finished: dict[str, float] = field(default_factory=dict)  # task: when it was let go
    begun: Counter[str] = field(default_factory=Counter)  # for those who read the history
    denied: dict[str, int | None] = field(default_factory=dict)  # until when, server time; None: it is not known yet
    tries: Tries = field(default_factory=Tries)


@dataclass
class Records:
    """Facts, and the promises that an agent's memory keeps."""

    history: History
    store: MemoryStore
    steady_clock: bool  # the control plane's clock never jumps
    sound_disks: bool  # no fsync ever fails
    deltas: dict[Digest, tuple[Vector, str, set[int] | None]] = field(default_factory=dict)  # by whom, of how many
    diaries: dict[str, Diary] = field(default_factory=dict)
    server: Callable[[], int] = int  # the control plane's clock

    @property
    def server_ms(self) -> int:
        """Give the control plane's time now."""
        return self.server()

    def diary(self, box: str) -> Diary:
        """Find a box's, or begin it."""
        return self.diaries.setdefault(box, Diary())

    def trained(self, box: str, digest: Digest, vector: Vector, examples: set[int]) -> None:
        """Note a delta that exists from now on; it counts so many, depending on how far the box had counted itself."""
        self.deltas[digest] = vector, box, examples
        self.history.note(box, f"trained {digest[:8]}")

    def begins(self, box: str, job: protocol.Train, fingerprint: str) -> None:
        """A training begins: not of what is over, not too often, not of what is denied."""
        diary, promise = self.diary(box), self.history.promise
        diary.begun[job.task] += 1
        self.history.note(box, f"trains {job.task}, the {diary.begun[job.task]}. time")
        if self.steady_clock:
            ended_s = diary.finished.get(job.task)
            over = ended_s is not None and self.history.loop.now_s - ended_s > _RACE_S
            promise(not over, "once only", f"{box} trains {job.task}, which it had finished with at {ended_s} s")
        diary.tries.begins(job.task)
        vain = diary.tries.least[job.task] > MOST
        promise(not vain, "no boot loop", f"{box} begins {job.task} again, after {MOST} times in vain")
        key = f"{Path(job.manifest_path).name}:{job.dataset.name}:{fingerprint}"
        until_ms = diary.denied.get(key, 0)
        barred = until_ms is None or self.server_ms < until_ms
        promise(not barred, "denied for a day", f"{box} trains {job.task} though it has denied that model for a day")

    def remembered(self, box: str, disk: Disk, before: Rows, after: Rows) -> None:
        """A box's journal has changed, durably: nothing accepted, and nothing to report, is forgotten."""
        for key in after.keys() - before.keys():
            self._appeared(box, key, json.loads(after[key]), after)
        for key in sorted(before.keys() & after.keys()):
            if key.startswith("held/") and before[key] != after[key]:
                self._held(box, disk, key, json.loads(after[key]))
            elif key.startswith("denied/") and before[key] != after[key]:
                self._appeared(box, key, json.loads(after[key]), after)
        for key in sorted(after.keys() - before.keys()):
            if key.startswith("held/"):
                self._held(box, disk, key, json.loads(after[key]))
        for key in sorted(before.keys() - after.keys()):
            self._vanished(box, key, json.loads(before[key]), after)

    def recalled(self, box: str, rows: Rows, held: set[str]) -> None:
        """A box starts with what its journal holds: every task in it is taken up again."""
        known = {key.partition("/")[2] for key in rows if key.startswith("held/")}
        self.history.promise(held == known, "journal", f"{box} starts with {held}, its journal holds {known}")

    def swept(self, box: str, before: dict[TaskId, int], after: dict[TaskId, int]) -> None:
        """A box has tidied up at its start: no checkpoint of what goes on is gone."""
        self.history.promise(before == after, "checkpoint", f"{box} had come to {before}, and finds {after}")

    def _appeared(self, box: str, key: str, tree: Any, after: Rows) -> None:
        kind, _, name = key.partition("/")
        if kind == "finished":
            self.diary(box).finished.setdefault(name, self.history.loop.now_s)
        elif kind == "report" and tree["kind"] == "Failed" and ENDED_THE_WORKER in tree["reason"]:
            denied = any(other.startswith("denied/") for other in after)
            self.history.promise(denied, "denied for a day", f"{box} gives {name} up, and does not remember why")
            tries = self.diary(box).tries.most[name]
            in_vain = tries >= MOST or not self.sound_disks
            self.history.promise(in_vain, "trains on", f"{box} gives {name} up after {tries} times in vain")
        elif kind == "denied":
            self.diary(box).denied[name] = tree["until_ms"]
            self.history.note(box, f"denies {name[:8]}")

    def _held(self, box: str, disk: Disk, key: str, tree: Any) -> None:
        name, stage = key.partition("/")[2], tree["stage"]
        self.history.note(box, f"{name} {stage}")
        if stage == "training":
            self.diary(box).tries.counted(name)
        else:
            self.diary(box).tries.over(name)
        if stage == "spooled":
            place = disk.files / "spool" / f"{name}.delta"
            self.history.promise(
                disk.safe(place), "spooled is on disk", f"{box} says {name} is spooled; it is not safe"
            )

    def _vanished(self, box: str, key: str, tree: Any, after: Rows) -> None:
        kind, _, name = key.partition("/")
        promise = self.history.promise
        if kind == "held":
            wrong_ms = 5_000 if self.steady_clock else 120_000
            over = self.server_ms + wrong_ms > tree["task"]["deadline_ms"]
            kept = f"finished/{name}" in after or over
            promise(kept, "journal", f"{box} forgets {name} without a trace")
            told = f"report/{name}" in after or not self._open(name) or over
            promise(told, "journal", f"{box} has nothing to report of {name}, which is still open")
            self.history.note(box, f"{name} finished")
            self.diary(box).tries.over(name)
            self.diary(box).finished.setdefault(name, self.history.loop.now_s)
            if tree["stage"] == "spooled" and f"report/{name}" not in after:
                promise(not self._open(name), "no delta lost", f"{box} drops the delta of {name}, which is still open")
        elif kind == "report":
            promise(not self._open(name), "journal", f"{box} forgets its report on {name}, which is still open")

    def _open(self, name: str) -> bool:
        task: TaskRecord | None = self.store.tables.tasks.get(TaskId(name))
        return task is not None and task.state is TaskState.OPEN
