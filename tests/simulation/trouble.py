"""What is done to the machines of a world, and what its operator does meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from headwater_control.service import rollouts, runs
from headwater_control.service.errors import ServiceError
from headwater_control.service.world import World

from tests.simulation import model
from tests.simulation.blame import of_the_world
from tests.simulation.box import Box
from tests.simulation.control import Control
from tests.simulation.machine import Commons
from tests.simulation.network import Way
from tests.simulation.surroundings import DAY_S


@dataclass
class Trouble:
    """All that happens to a world from outside, until it is calm."""

    commons: Commons
    control: Control
    boxes: Sequence[Box]
    _deeds: set[asyncio.Task[Any]] = field(default_factory=set)  # of the operator's, that are not done yet

    async def outages(self) -> None:
        """Cut, freeze, switch off, restart: one of them every so often."""
        chance = self.commons.fate.chance
        deeds: tuple[Callable[[], Awaitable[None]], ...] = (
            self._cut, self._cut, self._freeze, self._darken, self._darken, self._restart, self._kill_control,
            self._restart_control, self._kill_broker,
        )  # fmt: skip
        while self.commons.fate.weather.outages_s:
            await asyncio.sleep(self.commons.fate.next_s(self.commons.fate.weather.outages_s))
            if self.commons.fate.weather.outages_s:
                await chance.choice(deeds)()

    async def jumps(self) -> None:
        """Set the control plane's clock anew, every so often."""
        while self.commons.fate.weather.jumps_s:
            await asyncio.sleep(self.commons.fate.next_s(self.commons.fate.weather.jumps_s))
            box = self.commons.fate.chance.choice(self.boxes)
            box.place.wrong_s = self.commons.fate.chance.uniform(-1, 1) ** 3 * 4 * DAY_S
            self.control.wrong_s = self.commons.fate.chance.uniform(-60, 60)
            self.control.meet_trouble()
            self.commons.history.note("control", f"its clock is {self.control.wrong_s:.0f} s wrong")

    async def operator(self) -> None:
        """Pause, resume, roll out; seldom cancel."""
        chance = self.commons.fate.chance
        deeds = (self._pause, self._resume, self._roll_out, self._roll_out, self._cancel_rollout, self._cancel_run)
        while not self.commons.fate.weather.clear:
            await asyncio.sleep(self.commons.fate.next_s(25.0))
            deed = chance.choices(deeds, (4, 6, 5, 3, 2, 1))[0]
            self.commons.history.note("operator", deed.__name__.strip("_"))
            await self.ask(deed)

    async def ask(self, deed: Callable[[World], Coroutine[Any, Any, None]]) -> bool:
        """Have the control plane do something, as its API would; say whether it did."""
        process, world = self.control.process, self.control.world
        if process is None or world is None:
            return False
        asked = process.start(deed(world), "operator")
        self._deeds.add(asked)
        asked.add_done_callback(self._done)
        await asyncio.wait([asked])
        error = None if asked.cancelled() else asked.exception()
        if error is not None and not isinstance(error, ServiceError) and not of_the_world(error) and process.alive:
            self.commons.history.break_off("no bug", f"{deed.__name__} ended by {error!r}")
        return not asked.cancelled() and error is None

    async def rest(self) -> None:
        """Wait for what was asked last: who asked may be gone, and it is done all the same."""
        if self._deeds:
            await asyncio.wait(self._deeds)

    def _done(self, deed: asyncio.Task[Any]) -> None:
        self._deeds.discard(deed)
        _ = deed.cancelled() or deed.exception()  # looked at, in case nobody waits for it any more

    def clear_up(self) -> None:
        """Repair everything."""
        for box in self.boxes:
            self.commons.network.turn(box.name, Way.OPEN)
            box.place.clear_up()
            box.start()
        self.control.start()
        if not self.commons.broker.up:
            self.commons.broker.start()
        self.control.wrong_s = 0.0

    async def _cut(self) -> None:
        await self._turn(Way.CUT)

    async def _freeze(self) -> None:
        await self._turn(Way.FROZEN)

    async def _turn(self, way: Way) -> None:
        chance = self.commons.fate.chance
        for box in chance.sample(list(self.boxes), 1 + int(chance.random() ** 2 * len(self.boxes))):
            self.commons.network.turn(box.name, way)
            lasts_s = chance.random() * (300 if chance.random() < 0.2 else 30)
            self.commons.loop.later(lasts_s, self.commons.network.turn, box.name, Way.OPEN)

    async def _darken(self) -> None:
        self.commons.fate.chance.choice(self.boxes).lose_power()

    async def _restart(self) -> None:
        await self.commons.fate.chance.choice(self.boxes).stop()

    async def _kill_control(self) -> None:
        self.control.lose_power()

    async def _restart_control(self) -> None:
        await self.control.stop()

    async def _kill_broker(self) -> None:
        if self.commons.broker.up:
            self.commons.history.note("broker", "dies")
            self.commons.broker.stop()
            self.commons.loop.later(self.commons.fate.chance.random() * 40, self.commons.broker.start)

    async def _pause(self, world: World) -> None:
        for run in await runs.list_runs(world):
            await runs.pause(world, run.id)

    async def _resume(self, world: World) -> None:
        for run in await runs.list_runs(world):
            await runs.resume(world, run.id)

    async def _cancel_run(self, world: World) -> None:
        for run in await runs.list_runs(world):
            await runs.cancel(world, run.id)

    async def _roll_out(self, world: World) -> None:
        async with world.store.read() as tx:
            newest = (await tx.models.versions(model.NAME))[-1]
        await rollouts.start(world, newest.id)

    async def _cancel_rollout(self, world: World) -> None:
        for rollout in await rollouts.list_rollouts(world):
            with suppress(ServiceError):
                await rollouts.cancel(world, rollout.id)
