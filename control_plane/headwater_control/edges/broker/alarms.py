"""Deadlines by key: cheap to move later, which is what a sign of life does."""

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Alarms(Generic[K]):
    """At most one deadline a key. Moving one later costs a dictionary write; the heap catches up when it fires."""

    def __init__(self) -> None:
        self._deadlines: dict[K, float] = {}
        self._queued: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._pushes = 0

    def set(self, key: K, at: float) -> None:
        """Give `key` a deadline, in place of any other it had."""
        self._deadlines[key] = at
        queued = self._queued.get(key)
        if queued is None or at < queued:
            self._push(key, at)

    def cancel(self, key: K) -> None:
        """Take a deadline back, if there is one."""
        self._deadlines.pop(key, None)
        if len(self._heap) > 2 * len(self._deadlines) + 64:
            self._rebuild()

    def next_at(self) -> float | None:
        """Tell when to look again: never later than the first deadline."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[K]:
        """Take out the keys whose deadline has come, the earliest first."""
        fired: list[tuple[float, K]] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._queued.get(key) != at:
                continue  # it was queued anew for an earlier time
            del self._queued[key]
            deadline = self._deadlines.get(key)
            if deadline is None:
                continue
            if deadline > now:
                self._push(key, deadline)
            else:
                del self._deadlines[key]
                fired.append((deadline, key))
        return [key for _, key in sorted(fired, key=lambda entry: entry[0])]

    def _push(self, key: K, at: float) -> None:
        self._pushes += 1
        self._queued[key] = at
        heapq.heappush(self._heap, (at, self._pushes, key))

    def _rebuild(self) -> None:
        self._heap.clear()
        self._queued.clear()
        for key, at in self._deadlines.items():
            self._push(key, at)
