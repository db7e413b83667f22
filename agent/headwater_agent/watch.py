"""Watches whether the box may train, and tells the machine and the control plane when that changes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from headwater_wire.messages import Condition, ConditionState

from headwater_agent.core.conditions import Readings, Standing, Wanted, advance
from headwater_agent.core.events import ConditionsChanged, Event
from headwater_agent.ports import Downlink


@dataclass
class Watch:
    """Knows how the box stands. `read` looks at it, in a thread: a driver may be slow."""

    wanted: Wanted
    read: Callable[[], Readings]
    link: Downlink
    deliver: Callable[[Event], Awaitable[None]]
    every_s: float
    standing: Standing = field(default_factory=Standing)
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    def again(self) -> None:
        """Look soon, since something is known to have changed."""
        self._asked.set()

    async def begin(self) -> None:
        """Look for the first time, and tell nobody: what follows is there to be asked for."""
        await self._look()

    async def run(self) -> None:
        """Look now and then, and whenever `again` is called, until cancelled."""
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
                await self.link.announce()

    def conditions(self) -> tuple[Condition, ...]:
        """Tell how each condition stands."""
        return self.standing.conditions

    async def _look(self) -> None:
        readings = await asyncio.to_thread(self.read)
        self.standing = advance(self.standing, self.wanted, readings, asyncio.get_running_loop().time())


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
