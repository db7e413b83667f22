"""When those should come back who were turned away, so that they are no crowd again."""

import random
from collections.abc import Callable

from headwater_wire.ids import DeviceId

A_SECOND = 100.0  # callers turned away that cost us little: a call that is refused takes about a millisecond
_LEAST_S, _MOST_S = 1.0, 60.0


class Pace:
    """Gives each device the next free turn: as many come back a second as we can well refuse, whatever their number.

    Who comes before its turn has no other one until then: nobody pushes the others back by calling often.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last_s = now()  # the last turn that was given
        self._turns: dict[DeviceId, float] = {}

    def pause_s(self, device: DeviceId) -> float:
        """Say how long a device waits for its turn, in s: half a second at least, 90 at most."""
        now_s = self._now()
        while self._turns and next(iter(self._turns.values())) <= now_s:
            del self._turns[next(iter(self._turns))]
        if (turn_s := self._turns.get(device, now_s)) <= now_s:
            self._turns.pop(device, None)  # so that they are in about the order of their turns
            turn_s = self._turns[device] = self._next(now_s)
        return turn_s - now_s

    def _next(self, now_s: float) -> float:
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 (no secret)
        self._last_s = min(max(self._last_s, now_s) + 1.0 / A_SECOND, now_s + _MOST_S)
        waits_s = self._last_s - now_s
        return now_s + (_MOST_S * jitter if waits_s >= _MOST_S else max(waits_s, _LEAST_S * jitter))
