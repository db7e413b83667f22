"""When a box asks for its next certificate: in time, spread, and more urgently towards the end."""

import math
from itertools import pairwise

from headwater_agent.core.renewal import again_in_s, due_in_s
from hypothesis import given
from hypothesis import strategies as st

DAY_S = 86_400.0
BEGINS_S = 1_767_600_000.0
CHANCES = st.floats(0, 1, exclude_max=True)
LIVES_S = st.floats(60, 400 * DAY_S)
SHARES = st.floats(-0.5, 3.0)


@given(LIVES_S, SHARES, CHANCES)
def test_the_first_attempt_comes_between_half_and_three_fifths_of_a_life(
    life_s: float, share: float, chance: float
) -> None:
    """Never before, and never later than the end; whoever is past that, begins at once."""
    now_s = BEGINS_S + share * life_s
    due_s = due_in_s(BEGINS_S, BEGINS_S + life_s, now_s, chance=chance)
    at = share + due_s / life_s
    assert due_s >= 0
    if share < 0.5:
        assert 0.5 - 1e-6 <= at <= 0.6 + 1e-6
    if share >= 0.6:
        assert due_s == 0


def test_boxes_enrolled_together_do_not_come_together() -> None:
    """Of certificates of 90 days the first attempts fill nine days evenly."""
    due = [due_in_s(0, 90 * DAY_S, 0, chance=number / 90) for number in range(90)]
    gaps = {round(after - before) for before, after in pairwise(due)}
    assert gaps == {round(DAY_S / 10)}


@given(st.floats(-400 * DAY_S, 400 * DAY_S), st.integers(1, 10_000), CHANCES)
def test_a_pause_after_failures_is_never_nothing_and_never_too_long(
    left_s: float, failures: int, chance: float
) -> None:
    """At least half a minute, at most a twelfth of what is left, or an hour when that is less."""
    pause_s = again_in_s(left_s, 0.0, failures=failures, chance=chance)
    assert math.isfinite(pause_s)
    assert 30.0 <= pause_s <= max(3600.0, left_s / 12)


@given(st.floats(0, 400 * DAY_S), st.floats(0, 400 * DAY_S), st.integers(1, 30), CHANCES)
def test_the_nearer_the_end_the_sooner_the_next_attempt(
    one_s: float, two_s: float, failures: int, chance: float
) -> None:
    """With as many failures behind it."""
    near_s, far_s = sorted((one_s, two_s))
    pauses = [again_in_s(left_s, 0.0, failures=failures, chance=chance) for left_s in (near_s, far_s)]
    assert pauses[0] <= pauses[1]


@given(st.integers(1, 30), CHANCES)
def test_failures_make_it_slower_up_to_a_bound(failures: int, chance: float) -> None:
    """Soon after the first, then twice as long each time."""
    pauses = [again_in_s(45 * DAY_S, 0.0, failures=n, chance=chance) for n in (failures, failures + 1)]
    assert pauses[0] <= pauses[1] <= 2 * pauses[0]
    assert again_in_s(45 * DAY_S, 0.0, failures=1, chance=chance) <= 60.0


@given(CHANCES)
def test_a_box_that_is_cut_off_tries_a_hundred_times_before_the_end(chance: float) -> None:
    """And hourly from then on, for as long as it takes."""
    now_s, ends_s, failures, tries = 0.0, 45 * DAY_S, 0, 0
    while now_s < ends_s:
        failures, tries = failures + 1, tries + 1
        now_s += again_in_s(ends_s, now_s, failures=failures, chance=chance)
    assert 50 <= tries <= 500
    assert again_in_s(ends_s, ends_s + 300 * DAY_S, failures=failures, chance=chance) <= 3600.0
