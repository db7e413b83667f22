"""The maintenance lock: a person on the box has paused training, for a time or until further notice."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Lock:
    """A pause. Times are Unix milliseconds by the box's own clock, which is the one that the person has seen."""

    since_ms: int
    until_ms: int | None = None  # None: until it is resumed
    reason: str = ""


def lock(*, now_ms: int, for_s: float | None = None, reason: str = "") -> Lock:
    """Pause from now on, for so many seconds or until it is resumed."""
    return Lock(now_ms, None if for_s is None else now_ms + int(for_s * 1000), reason)


def in_force(held: Lock | None, *, now_ms: int) -> bool:
    """Say whether a lock still holds. A clock that was set back makes a pause longer, never shorter."""
    return held is not None and (held.until_ms is None or now_ms < held.until_ms)


def objection(held: Lock | None, *, now_ms: int) -> str:
    """Say why nothing is trained; nothing, if no lock is in force."""
    if held is None or not in_force(held, now_ms=now_ms):
        return ""
    until = "until `headwater-agent resume`" if held.until_ms is None else f"until {_moment(held.until_ms)}"
    return f"paused on the box {until}{f' ({held.reason})' if held.reason else ''}"


def _moment(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
