"""Watches whether the box may train, and tells the machine and the control plane when that changes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from headwater_wire.messages import Condition, ConditionState

from headwater_agent.core.conditions import Readings, Standing, Wanted, advance
from headwater_agent.core.events import ConditionsChanged, Event
from headwater_agent.ports import Downlink

BUSY_S = 1.2  # how long the processors are watched, at least, before it is known how busy they are
SENSORS_S = 10.0  # they are waited for so long
SILENT = "its sensors do not answer: a driver hangs, perhaps (dmesg)"


@dataclass
class Watch:
    """Knows how the box stands. `read` looks at it, and may never end: a driver hangs.

    `locked` says why a person keeps it from training; nothing, if nobody does.
    """

    wanted: Wanted
    read: Callable[[], Awaitable[Readings]]
    link: Downlink
    deliver: Callable[[Event], Awaitable[None]]
    every_s: float
    locked: Callable[[], str] = lambda: ""
    standing: Standing = field(default_factory=Standing)
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _last: Readings = field(default_factory=Readings)
    _reading: "asyncio.Future[Readings] | None" = None

    def again(self) -> None:
        """Look soon, since something is known to have changed."""
        self._asked.set()

    async def begin(self) -> None:
        """Look for the first time, and tell nobody: what follows is there to be asked for."""
        await self._look()
        if self.wanted.max_cpu_busy:  # a busy box must not begin to train in the meantime
            await asyncio.sleep(BUSY_S)
            await self._look()

    async def run(self) -> None:
        """Look now and then, and whenever `again` is called, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell(), name="watch.tell")
            await self._keep_looking()

    async def _tell(self) -> None:
        """Tell the control plane of changes; a broker that does not answer keeps nobody from looking meanwhile."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.link.announce()

    async def _keep_looking(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.every_s):
                    await self._asked.wait()
            self._asked.clear()
            before = self.standing
            await self._look()
            if _lost(self.standing) != _lost(before):
                await self.deliver(ConditionsChanged(self.standing.waiting))
            if _told(self.standing) != _told(before):
                self._news.set()

    def conditions(self) -> tuple[Condition, ...]:
        """Tell how each condition stands."""
        return self.standing.conditions

    def unmet(self, name: str) -> str:
        """Say why a condition is lost; nothing, if it is not."""
        return next(
            (each.why for each in self.conditions() if each.name == name and each.state is ConditionState.UNMET), ""
        )

    async def _look(self) -> None:
        silent = "" if await self._read() else SILENT
        locked = await asyncio.to_thread(self.locked)
        readings = replace(self._last, maintenance=locked, silence=silent)
        self.standing = advance(self.standing, self.wanted, readings, asyncio.get_running_loop().time())

    async def _read(self) -> bool:
        """Read; say False while a sensor does not answer: nothing is trained blindly, and nobody else waits for it."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self.read())
        reading = self._reading
        done, _ = await asyncio.wait({reading}, timeout=SENSORS_S)
        if not done:
            return False
        self._reading = None
        self._last = reading.result()
        return True


def _lost(standing: Standing) -> tuple[tuple[str, str], ...]:
    """Say what the machine should hear of: which conditions are lost, whatever their figures, and a person's words."""
    return tuple(
        (condition.name, condition.why if condition.name == "maintenance" else "")
        for condition in standing.conditions
        if condition.state is ConditionState.UNMET
    )


def _told(standing: Standing) -> tuple[tuple[str, ConditionState], ...]:
    """Say what the control plane should hear of at once: figures may be older."""
    return tuple((condition.name, condition.state) for condition in standing.conditions)
