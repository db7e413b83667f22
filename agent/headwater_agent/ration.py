"""A delta's share of what may go up on a day."""

import asyncio
from dataclasses import dataclass

from headwater_agent.ports import AgentError, Allowance


class PutOff(AgentError):
    """The day has no room for an upload, or its owner wants another network for it."""


@dataclass
class Ration:
    """Taken once, when the control plane wants the delta's bytes: what can't be sent uses up no day."""

    allowance: Allowance | None  # None: as much as there is
    size: int
    _taken: bool = False

    async def wait_s(self) -> float:
        """Say for how many seconds the upload is put off; 0: it may begin."""
        if self.allowance is None or self._taken:
            return 0.0
        return await asyncio.to_thread(self.allowance.wait_s, self.size)

    async def take(self) -> None:
        """Count the upload; raise `PutOff` if another one took the day's room meanwhile."""
        if self.allowance is None or self._taken:
            return
        if await asyncio.to_thread(self.allowance.take, self.size):
            raise PutOff("another upload took what was left of the day")
        self._taken = True
