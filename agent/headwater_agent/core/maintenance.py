"""The maintenance lock: a person on the box has paused training, for a time or until further notice."""

from dataclasses import dataclass
from datetime import UTC, datetime

LATEST_MS = 253_402_300_799_999  # the end of the year 9999, after which no calendar here goes


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment as a box knows it: by its own clock, which may be wrong and be set, and since its kernel started."""

    ms: int  # Unix milliseconds
    up_ms: int = 0
    boot: str = ""  # which start of the kernel that was; empty: it does not say


@dataclass(frozen=True, slots=True)
class Lock:
    """A pause. Times are Unix milliseconds by the box's own clock, which is the one that the person has seen."""

    since: Instant
    until_ms: int | None = None  # None: until it is resumed
    reason: str = ""


def lock(*, now: Instant, for_s: float | None = None, reason: str = "") -> Lock:
    """Pause from now on, for so many seconds or until it is resumed."""
    return Lock(now, None if for_s is None else now.ms + int(for_s * 1000), reason)


def in_force(held: Lock | None, *, now: Instant) -> bool:
    """Say whether a lock still holds: until the box restarts it lasts as long as was said, whatever its clock says.

    After that the clock tells when it is over; a box that has run for as long since is no longer paused in any case.
    """
    if held is None or held.until_ms is None:
        return held is not None
    lasts_ms = held.until_ms - held.since.ms
    if now.boot and now.boot == held.since.boot:
        return now.up_ms - held.since.up_ms < lasts_ms
    return now.ms < held.until_ms and not (now.boot and held.since.boot and now.up_ms >= lasts_ms)


def objection(held: Lock | None, *, now: Instant) -> str:
    """Say why nothing is trained; nothing, if no lock is in force."""
    if held is None or not in_force(held, now=now):
        return ""
    until = "until `headwater-agent resume`" if held.until_ms is None else f"until {_moment(held.until_ms)}"
    return f"paused on the box {until}{f' ({held.reason})' if held.reason else ''}"


def _moment(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
