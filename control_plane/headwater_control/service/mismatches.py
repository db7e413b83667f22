"""Counts uploads that arrived whole but damaged, so that a device that can't do better doesn't hold a round up."""

from collections import OrderedDict

from headwater_wire.ids import TaskId

ATTEMPTS = 3  # bytes are damaged on the way once in a blue moon
_TASKS = 10_000  # the oldest is forgotten: it gets its attempts anew


class Mismatches:
    """How often each task's delta was not the announced one. Of this process: a restart counts from 0."""

    def __init__(self) -> None:
        self._counts: OrderedDict[TaskId, int] = OrderedDict()

    def too_many(self, task: TaskId) -> bool:
        """Count one more; say whether it was the last that is borne."""
        count = self._counts.pop(task, 0) + 1
        if count >= ATTEMPTS:
            return True
        self._counts[task] = count
        if len(self._counts) > _TASKS:
            self._counts.popitem(last=False)
        return False
