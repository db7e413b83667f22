"""Whoever is on a box: changes what it stands in, has its data looked at again, pauses and resumes training."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from headwater_agent.clerk import Clerk
from headwater_agent.survey import Surveyor

from tests.simulation.history import History
from tests.simulation.surroundings import DAY_S, Surroundings
from tests.simulation.weather import Fate

_EVERY_S = 10.0


@dataclass
class Person:
    """Asks the agent's clerk, as the command does over its socket."""

    fate: Fate
    history: History
    box: str
    place: Surroundings
    clerk: Clerk
    surveyor: Surveyor

    async def live(self) -> None:
        """Do something every so often; once nothing goes wrong any more, end what keeps the box from training."""
        while True:
            await asyncio.sleep(self.fate.next_s(_EVERY_S))
            if self.place.owner.grows_s and self.fate.strikes(_EVERY_S / self.place.owner.grows_s):
                self.place.grow()
                self.surveyor.anew()
            if self.fate.weather.clear:
                if self.place.pause != (0.0, True):
                    await self._ask({"ask": "resume"}, 0.0)
                continue
            self.place.change()
            if self.place.pause != (0.0, True):
                if self.fate.strikes(0.3):
                    await self._ask({"ask": "resume"}, 0.0)
            elif self.fate.strikes(self.fate.weather.unfit / 4):
                for_s = self.fate.chance.random() * DAY_S / 2 if self.fate.strikes(0.5) else None
                await self._ask(
                    {"ask": "pause", "for_s": for_s}, None if for_s is None else self.place.wall_s() + for_s
                )

    async def _ask(self, request: dict[str, object], until_s: float | None) -> None:
        """Note what was answered; before there is an answer nobody can say whether the box is paused."""
        self.place.pause = until_s, False
        with suppress(OSError):  # its disk fails: the command says so
            await self.clerk.answer(request)
            self.place.pause = until_s, True
            self.history.note(self.box, f"{request['ask']} until {until_s}")
