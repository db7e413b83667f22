"""Wake-ups within this process: a change rings, whoever waits for the run looks again."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from headwater_wire.ids import RunId

from headwater_control.ports import Clock


class Bell:
    """One listener: any number of rings between two waits count as one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the listener, now or at its next wait."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most so long; say whether it rang."""
        if not self._rung.is_set() and timeout_s > 0:
            rung = asyncio.create_task(self._rung.wait(), name="bell.rung")
            timeout = asyncio.create_task(self._clock.sleep(timeout_s), name="bell.timeout")
            try:
                await asyncio.wait({rung, timeout}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                rung.cancel()
                timeout.cancel()
                await asyncio.gather(rung, timeout, return_exceptions=True)
        was_rung = self._rung.is_set()
        self._rung.clear()
        return was_rung


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
