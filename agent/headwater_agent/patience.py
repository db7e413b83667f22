"""Asks the control plane until it answers, and shows meanwhile what a task waits for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import random
from typing import TypeVar

from headwater_wire.ids import TaskId
from headwater_wire.messages import Phase, Progress

from headwater_agent.core.backoff import delay_s
from headwater_agent.ports import Downlink, Gone, Unavailable

NUDGES_APART_S = 0.2
_IN_TURN = {Phase.FETCHING: Phase.ACCEPTED, Phase.UPLOADING: Phase.SPOOLED}
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass
class Patience:
    """Pauses with full jitter between attempts, drawn by `chance` from [0, 1).

    `live` says of the tasks being worked on what the session doesn't know.
    """

    link: Downlink
    chance: Callable[[], float] = random
    live: dict[TaskId, Progress] = field(default_factory=dict)
    _nudged_s: float = float("-inf")
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, progress: Progress) -> None:
        """Tell how far a task is, by the next heartbeat, soon."""
        self.live[progress.task] = progress
        self.link.pulse()

    def nudge(self) -> None:
        """End the pauses, since the control plane seems to be back; a flood of nudges is one."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._nudged_s < NUDGES_APART_S:
            return
        self._nudged_s = now_s
        self._nudged.set()
        self._nudged.clear()

    async def insist(
        self,
        attempt: Callable[[], Awaitable[_T]],
        what: str,
        *,
        final: type[Exception] | tuple[type[Exception], ...] = (),
        of: TaskId | None = None,
    ) -> _T:
        """Try until it works, or ends in what is `final`."""
        count = 0
        while True:
            try:
                return await attempt()
            except final:
                raise
            except (Unavailable, Gone) as error:
                wish_s = error.retry_after_s if isinstance(error, Unavailable) else None
                pause_s = wish_s or delay_s(count, chance=self.chance())
                # Who is told when to come back only waits for its turn.
                _log.log(logging.INFO if count < 3 or wish_s is not None else logging.WARNING, "%s: %s", what, error)
                shown = self.live.get(of) if of else None
                if shown:  # who was told to come back later waits for its turn: that is no lack of progress
                    phase = _IN_TURN.get(shown.phase, shown.phase) if wish_s is not None else shown.phase
                    self.show(replace(shown, phase=phase, waiting_for=f"the control plane: {error}"[:200]))
                count += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await (self._nudged.wait() if wish_s is None else asyncio.Event().wait())
            if shown:
                self.live[shown.task] = shown
