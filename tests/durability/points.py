"""One point: a process, a way to fail, and the number of the durable call at which it does."""

import os
import signal
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headwater.records import RunDetail

from tests.durability import interposer
from tests.durability.history import History, check_disk, history

PROCESSES = ("agent", "control")
BOX = "box-1"
NOT_REACHED = "not reached"  # two histories differ in a call or two, as their threads meet


@dataclass(frozen=True, slots=True)
class Point:
    """Where a history is disturbed."""

    process: str
    how: str
    number: int

    @property
    def call(self) -> str:
        """Whatever it is that is called then."""
        return f"*#{self.number}"

    def __str__(self) -> str:
        return f"{self.process} {self.how} {self.number}"


def digest() -> str:
    """Give the digest of the parameters of an undisturbed history."""
    with tempfile.TemporaryDirectory(prefix="hw-") as folder, history(Path(folder) / "history") as made:
        return made.live()[1]


def count(process: str) -> int:
    """Count the durable calls of a history, from the first start to a stop in good order."""
    with tempfile.TemporaryDirectory(prefix="hw-") as folder:
        trace = Path(folder) / "trace"
        env = interposer.traced(trace)
        with _with(process, Path(folder) / "history", env) as made:
            made.live()
        return len(interposer.calls(trace))


def problem(point: Point, undisturbed: str) -> str:
    """Live through a history disturbed at `point`; say what was wrong in it, or "" if nothing was."""
    with tempfile.TemporaryDirectory(prefix="hw-") as folder:
        guard = Path(folder) / "guard"
        env = interposer.failing(point.how, guard, point.call)
        try:
            with _with(point.process, Path(folder) / "history", env) as made:
                detail, parameters = made.live()
            check_disk(made)
            if interposer.missed(guard, point.call):
                return NOT_REACHED
            if point.how == "KILL":
                return _after_a_kill(made, detail, parameters == undisturbed)
            return _after_an_error(point, made, detail, parameters == undisturbed)
        except Exception:  # whatever it is, the other points are tried too
            return traceback.format_exc()


def _after_a_kill(made: History, detail: RunDetail, same: bool) -> str:
    ends = [*made.ends, *made.last_ends()]
    if [code for _, code in ends] != [-signal.SIGKILL]:
        return f"it ended otherwise: {ends}\n{made.told()}"
    if detail.run.state != "completed" or not same:
        return f"the run {detail.run.state} ({detail.run.reason}), {'the same' if same else 'other'} bits"
    return ""


def _after_an_error(point: Point, made: History, detail: RunDetail, same: bool) -> str:
    """It may have cost a task, or the process, if that was said."""
    words = (os.strerror(int(interposer.HOW[point.how])), "disk I/O error")  # SQLite's, for either
    reasons = [task.reason for found in detail.rounds for task in found.tasks if task.state == "failed"]
    ends = [*made.ends, *made.last_ends()]
    if (ends and not any(word in made.told() for word in words)) or "Traceback" in made.told():
        return f"it ended without a word of what to do, or told of a bug: {ends}\n{made.told()}"
    if detail.run.state == "completed" and same:
        return ""
    if any(word in reason for word in words for reason in reasons):
        return ""
    return f"the run {detail.run.state} ({detail.run.reason}), failed tasks: {reasons}\n{made.told()}"


@contextmanager
def _with(process: str, folder: Path, env: Mapping[str, str]) -> Iterator[History]:
    if process == "control":
        with history(folder, control_env=env) as made:
            yield made
    else:
        with history(folder, box_env={BOX: env}) as made:
            yield made
