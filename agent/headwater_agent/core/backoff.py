"""How long to wait before the next attempt."""

SYNC_APART_S = 300.0  # a Sync is 600 bytes with its answer and all headers: a sixth of a megabyte a day


def delay_s(attempt: int, *, chance: float, base_s: float = 0.25, cap_s: float = 30.0) -> float:
    """Draw a delay with full jitter: `chance`, in [0, 1), of an interval that doubles with each attempt from 0 on.

    So a fleet that lost its server together does not come back together. See M. Brooker, "Exponential Backoff and
    Jitter", AWS Architecture Blog, 2015.
    """
    return chance * min(cap_s, base_s * 2.0 ** min(attempt, 32))


def sync_apart_s(*, chance: float) -> float:
    """Draw how long a box that no broker reaches waits before it asks again: 300 s on average, half of it at least."""
    return SYNC_APART_S * (0.5 + chance)
