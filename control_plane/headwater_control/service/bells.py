"""Wake-ups within this process: a change rings, whoever waits for the run looks again."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from headwater_wire.ids import RunId

from headwater_control.ports import Clock


class Bell:
    """One listener: any number of rings between two waits count as one; reports are counted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()
        self._enough = asyncio.Event()
        self._wanted = 1
        self._reports = 0

    def ring(self) -> None:
        """Wake the listener, now or at its next wait."""
        self._rung.set()

    def report(self) -> None:
        """Tell that one more task succeeded: as many as it waits for wake the listener."""
        self._reports += 1
        if self._reports >= self._wanted:
            self._enough.set()

    def hush(self) -> None:
        """Forget what rang, since the listener is about to look."""
        self._reports = 0
        self._rung.clear()
        self._enough.clear()

    async def wait(self, timeout_s: float, *, reports: int = 1, rest_s: float = 0.0) -> bool:
        """Wait for so many reports or, once `rest_s` have passed, for a ring; at most so long. Say whether it rang."""
        self._wanted = reports
        if self._reports < reports:
            self._enough.clear()
        if rest_s > 0:
            await self._either(rest_s, self._enough)
        await self._either(timeout_s - rest_s, self._enough, self._rung)
        was_rung = self._rung.is_set() or self._enough.is_set()
        self.hush()
        return was_rung

    async def _either(self, timeout_s: float, *events: asyncio.Event) -> None:
        """Wait for the first of the events, at most so long."""
        if timeout_s <= 0 or any(event.is_set() for event in events):
            return
        waiting: list[asyncio.Task[object]] = [asyncio.create_task(event.wait(), name="bell.rung") for event in events]
        waiting.append(asyncio.create_task(self._clock.sleep(timeout_s), name="bell.timeout"))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


class Bells:
    """Who listens to what. A ring that nobody hears is no loss: whoever comes later reads the database first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._leaders: dict[RunId, list[Bell]] = {}
        self._watchers: dict[RunId, list[Bell]] = {}
        self._runs: list[Bell] = []

    def ring(self, run: RunId) -> None:
        """Tell that a run, its round or its tasks changed."""
        for bell in (*self._leaders.get(run, ()), *self._watchers.get(run, ())):
            bell.ring()

    def report(self, run: RunId) -> None:
        """Tell that a task of a run succeeded: that matters to its leader only when there are enough."""
        for bell in self._leaders.get(run, ()):
            bell.report()
        for bell in self._watchers.get(run, ()):
            bell.ring()

    def ring_runs(self) -> None:
        """Tell that there may be a run more or less to lead, or a rollout to settle."""
        for bell in self._runs:
            bell.ring()

    def ring_fleet(self) -> None:
        """Tell that a device came, went or changed: any run may have waited for that."""
        for bells in self._leaders.values():
            for bell in bells:
                bell.ring()

    def ring_watchers(self) -> None:
        """Tell that tasks made progress: only people care."""
        for bells in self._watchers.values():
            for bell in bells:
                bell.ring()

    @contextmanager
    def lead(self, run: RunId) -> Iterator[Bell]:
        """Listen as a run's coordinator."""
        with _listening(self._leaders, run, Bell(self._clock)) as bell:
            yield bell

    @contextmanager
    def runs(self) -> Iterator[Bell]:
        """Listen for runs to lead."""
        bell = Bell(self._clock)
        self._runs.append(bell)
        try:
            yield bell
        finally:
            self._runs.remove(bell)

    async def watch(self, run: RunId, every_s: float = 5.0) -> AsyncGenerator[None, None]:
        """Yield at once, then after each change (many at once count as one), at the latest every `every_s`.

        The latter since another replica's changes ring no bell here.
        """
        with _listening(self._watchers, run, Bell(self._clock)) as bell:
            while True:
                yield
                await bell.wait(every_s)


@contextmanager
def _listening(table: dict[RunId, list[Bell]], run: RunId, bell: Bell) -> Iterator[Bell]:
    table.setdefault(run, []).append(bell)
    try:
        yield bell
    finally:
        table[run].remove(bell)
        if not table[run]:
            del table[run]
