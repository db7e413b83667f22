"""The maintenance lock: holds as long as was said, however wrong the box's clock is."""

import pytest
from headwater_agent.core.maintenance import Instant, Lock, in_force, lock, objection
from hypothesis import given
from hypothesis import strategies as st

NOON_MS = 1_800_000_000_000
NOON = Instant(NOON_MS, 5_000, "first")
HOUR_MS = 3_600_000
TIMES = st.integers(0, 1 << 42)


@given(since=TIMES, up=TIMES, for_s=st.floats(0.001, 1e7), passed_ms=TIMES, clock=TIMES)
def test_until_a_restart_a_lock_lasts_as_long_as_was_said(
    since: int, up: int, for_s: float, passed_ms: int, clock: int
) -> None:
    """To the millisecond, whatever the clock is set to meanwhile: to 1970 by an empty battery, or by NTP."""
    held = lock(now=Instant(since, up, "first"), for_s=for_s)
    later = Instant(clock, up + passed_ms, "first")
    assert in_force(held, now=later) == (passed_ms < int(for_s * 1000))
    assert bool(objection(held, now=later)) == in_force(held, now=later)


@pytest.mark.parametrize("boot", ["", "second"])
def test_after_a_restart_the_clock_ends_it(boot: str) -> None:
    """Also where no kernel tells which start this is."""
    held = lock(now=NOON, for_s=7200)
    assert in_force(held, now=Instant(NOON_MS + 2 * HOUR_MS - 1, 60_000, boot))
    assert not in_force(held, now=Instant(NOON_MS + 2 * HOUR_MS, 60_000, boot))


def test_after_a_restart_a_wrong_clock_holds_it_no_longer_than_was_said() -> None:
    """Set in 2049 by a clock that was put right since, or before one that is not set yet."""
    far = lock(now=Instant(2_500_000_000_000, 5_000, "first"), for_s=7200)
    for clock_ms in (0, NOON_MS):
        assert in_force(far, now=Instant(clock_ms, 2 * HOUR_MS - 1, "second"))
        assert not in_force(far, now=Instant(clock_ms, 2 * HOUR_MS, "second"))


def test_a_lock_without_a_time_holds_until_it_is_taken_away() -> None:
    """However late; no lock holds nothing."""
    held = lock(now=NOON)
    assert in_force(held, now=Instant(1 << 60, 1 << 60, "first")) and in_force(held, now=Instant(0))
    assert not in_force(None, now=NOON) and objection(None, now=NOON) == ""


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (lock(now=NOON, for_s=7200), "paused on the box until 2027-01-15 10:00 UTC"),
        (lock(now=NOON), "paused on the box until `headwater-agent resume`"),
        (lock(now=NOON, reason="new fan"), "paused on the box until `headwater-agent resume` (new fan)"),
        (Lock(Instant(0), NOON_MS), ""),
    ],
)
def test_it_says_until_when_and_why(held: Lock, words: str) -> None:
    """In UTC."""
    assert objection(held, now=NOON) == words
