"""How long to wait before the next attempt."""


def delay_s(attempt: int, *, chance: float, base_s: float = 0.25, cap_s: float = 30.0) -> float:
    """Draw a delay with full jitter: `chance`, in [0, 1), of an interval that doubles with each attempt from 0 on.

    So a fleet that lost its server together does not come back together. See M. Brooker, "Exponential Backoff and
    Jitter", AWS Architecture Blog, 2015.
    """
    return chance * min(cap_s, base_s * 2.0 ** min(attempt, 32))
