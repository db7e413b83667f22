"""How many bytes may go up on a day: what does not fit any more waits for the next one."""

from headwater_agent.core.session import DAY_MS, Sent


def take(spent: Sent, size: int, *, limit: int, now_ms: int) -> tuple[Sent, float]:
    """Count an upload, or leave it and say for how many seconds it waits: until the next day (UTC).

    The first of a day may always go, so that one which no day has room for is late, and not lost.
    """
    day = now_ms // DAY_MS
    if spent.day > day + 1:  # the clock had been far ahead: nobody waits until it is there again, but it did go up
        spent = Sent(day, spent.size)
    if spent.on(now_ms) and spent.on(now_ms) + size > limit:
        return spent, ((max(spent.day, day) + 1) * DAY_MS - now_ms) / 1000
    return spent.plus(size, now_ms), 0.0
