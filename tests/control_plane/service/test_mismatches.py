"""How often a damaged delta is borne."""

from headwater_control.service.mismatches import Mismatches
from headwater_wire.ids import TaskId


def test_each_task_has_its_own_attempts_and_after_the_last_begins_anew() -> None:
    """Two are borne, the third is not; another task's count for nothing."""
    mismatches = Mismatches()
    one, other = TaskId("one"), TaskId("other")
    told = [mismatches.too_many(task) for task in (one, other, one, one, one)]
    assert told == [False, False, False, True, False]


def test_the_oldest_is_forgotten() -> None:
    """Memory has a bound, however many tasks go wrong."""
    mismatches = Mismatches()
    for number in range(20_000):
        mismatches.too_many(TaskId(f"task-{number}"))
        mismatches.too_many(TaskId(f"task-{number}"))
    assert not mismatches.too_many(TaskId("task-0"))
    assert mismatches.too_many(TaskId("task-19999"))
