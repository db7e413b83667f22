"""When those should come back who were turned away, so that they are no crowd again."""

import random
from collections.abc import Callable

A_SECOND = 100.0  # callers turned away that cost us little: a call that is refused takes about a millisecond
_LEAST_S, _MOST_S = 1.0, 60.0


class Pace:
    """Lets as many come back a second as we can well refuse, whatever their number: it is learnt from who comes."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since_s = now()
        self._turned_away = 0
        self._pause_s = _LEAST_S

    def pause_s(self) -> float:
        """Count one more that is turned away, and draw when it should come back: half to one and a half of a mean."""
        self._turned_away += 1
        passed_s = self._now() - self._since_s
        if passed_s >= 1.0 or self._turned_away > A_SECOND:  # a rush is answered within its first second
            rate = self._turned_away / max(passed_s, 0.1)
            # Those who come at `rate` after `pause_s` each are rate · pause_s in number.
            self._pause_s = min(_MOST_S, max(_LEAST_S, self._pause_s / 2, self._pause_s * rate / A_SECOND))
            self._since_s, self._turned_away = self._now(), 0
        return self._pause_s * random.uniform(0.5, 1.5)  # noqa: S311 (jitter, no secret)
