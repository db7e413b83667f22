"""Virtual time: it passes only when a test says so."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_MAX_TURNS = 10_000  # of the loop; whoever is busy for longer spins


class FakeClock:
    """A clock that stands still until `advance`. Sleepers wake in the order of their time, each at its own."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> datetime:
        """Tell the virtual time."""
        return self._now

    @property
    def next_due(self) -> datetime | None:
        """When the first sleeper wakes, or None if nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody has advanced the clock so far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._order), wake))
        await wake

    async def advance(self, seconds: float) -> None:
        """Let time pass. Whoever wakes runs until it waits again before the next one wakes."""
        await settle()
        until = self._now + timedelta(seconds=seconds)
        while (due := self.next_due) is not None and due <= until:
            self._now = max(self._now, due)
            heapq.heappop(self._sleepers)[2].set_result(None)
            await settle()
        self._now = until


async def settle() -> None:
    """Return when every task waits for something: for time, a message, a lock. Threads and sockets are not seen."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # no public way to ask a loop whether it idles
    for _ in range(_MAX_TURNS):
        await asyncio.sleep(0)
        if not ready:
            return
    raise AssertionError(f"some task still spins after {_MAX_TURNS} turns of the loop: it waits for nothing")
