"""When to ask for a new certificate: from half its life on, more urgently towards its end, and after it too."""

_OFTEN_S = 3600.0  # once expired, or nearly so
_SHARE = 12  # of what is left: a hundred tries on the way from half life to the end


def due_in_s(begins_s: float, ends_s: float, now_s: float, *, chance: float) -> float:
    """Say how long to wait for the first attempt, of times in Unix seconds and a `chance` in [0, 1).

    Boxes enrolled together are spread over the tenth of a life that follows its half. 0: now.
    """
    life_s = ends_s - begins_s
    return max(0.0, begins_s + life_s * (0.5 + 0.1 * chance) - now_s)


def again_in_s(ends_s: float, now_s: float, *, failures: int, chance: float) -> float:
    """Say how long to wait after so many attempts in a row have failed: soon at first, at most an hour near the end.

    A box that is cut off for weeks asks seldom while there is time, and hourly when there is none.
    """
    ceiling_s = max(_OFTEN_S, (ends_s - now_s) / _SHARE)
    return min(30.0 * 2.0 ** min(failures, 20), ceiling_s) * (0.5 + 0.5 * chance)
