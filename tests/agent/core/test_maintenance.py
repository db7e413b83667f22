"""The maintenance lock: holds as long as was said, by the box's clock."""

import pytest
from headwater_agent.core.maintenance import Lock, in_force, lock, objection
from hypothesis import given
from hypothesis import strategies as st

NOON_MS = 1_800_000_000_000


@given(now_ms=st.integers(0, 1 << 42), for_s=st.floats(0.001, 1e7), later_ms=st.integers(0, 1 << 42))
def test_a_lock_with_a_time_ends_then_and_not_before(now_ms: int, for_s: float, later_ms: int) -> None:
    """To the millisecond."""
    held = lock(now_ms=now_ms, for_s=for_s)
    holds = in_force(held, now_ms=later_ms)
    assert holds == (later_ms < now_ms + int(for_s * 1000))
    assert bool(objection(held, now_ms=later_ms)) == holds


def test_a_lock_without_a_time_holds_until_it_is_taken_away() -> None:
    """However late; no lock holds nothing."""
    held = lock(now_ms=NOON_MS)
    assert in_force(held, now_ms=1 << 60)
    assert not in_force(None, now_ms=NOON_MS) and objection(None, now_ms=NOON_MS) == ""


def test_a_clock_that_was_set_back_makes_it_longer() -> None:
    """Whoever is at work on the box is not surprised."""
    assert in_force(lock(now_ms=NOON_MS, for_s=60), now_ms=0)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (lock(now_ms=NOON_MS, for_s=7200), "paused on the box until 2027-01-15 10:00 UTC"),
        (lock(now_ms=NOON_MS), "paused on the box until `headwater-agent resume`"),
        (lock(now_ms=NOON_MS, reason="new fan"), "paused on the box until `headwater-agent resume` (new fan)"),
        (Lock(0, NOON_MS), ""),
    ],
)
def test_it_says_until_when_and_why(held: Lock, words: str) -> None:
    """In UTC."""
    assert objection(held, now_ms=NOON_MS) == words
