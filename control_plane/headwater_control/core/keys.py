"""Which of the control plane's signing keys signs, and which ones agents are to accept, while a new one takes over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

OVERLAP = timedelta(days=7)  # of two keys: the new one is announced before it signs, the old one accepted after


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """The key that signs and those that are accepted, by their places in the order they were made in."""

    signs: int
    accepted: tuple[int, ...]


def plan(made_at: Sequence[datetime], now: datetime, overlap: timedelta = OVERLAP) -> KeyPlan:
    """Say what each of the keys is for, oldest first; there is at least one.

    The newest one that has been announced for the whole overlap signs. Accepted are that one, the newer ones, and the
    one before it until it has been out of use for as long.
    """
    ripe = [place for place, at in enumerate(made_at) if place == 0 or at + overlap <= now]
    signs = ripe[-1]
    first = signs - 1 if signs and now < made_at[signs] + 2 * overlap else signs
    return KeyPlan(signs, tuple(range(first, len(made_at))))
