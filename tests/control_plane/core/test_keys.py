"""Which key signs, and which are accepted: no box that syncs once an overlap ever meets a key it does not know."""

from datetime import UTC, datetime, timedelta

from headwater_control.core.keys import OVERLAP, plan
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 1, 5, tzinfo=UTC)
HOURS = st.integers(0, 24 * 60)
MADE = st.lists(HOURS, min_size=1, max_size=6).map(lambda hours: [at(hour) for hour in sorted(hours)])


def at(hours: float) -> datetime:
    """Give a time."""
    return START + timedelta(hours=hours)


def known(made_at: list[datetime], now: datetime) -> list[datetime]:
    """Leave out the keys that are not made yet; the first is there always."""
    return [made for number, made in enumerate(made_at) if number == 0 or made <= now]


@given(MADE, HOURS)
def test_one_key_signs_and_it_is_accepted(made_at: list[datetime], hour: int) -> None:
    """Whenever keys were made; all that is accepted exists, and the newest is among it."""
    now = at(hour)
    there = known(made_at, now)
    chosen = plan(there, now)
    assert chosen.signs in chosen.accepted
    assert len(there) - 1 in chosen.accepted
    assert set(chosen.accepted) <= set(range(len(there)))


@given(MADE, HOURS, HOURS)
def test_a_key_that_signs_was_announced_for_a_whole_overlap(made_at: list[datetime], hour: int, back: int) -> None:
    """At each moment of the overlap before, from when it was made on; the first has nobody to tell."""
    now = at(hour)
    signs = plan(known(made_at, now), now).signs
    if signs:
        assert made_at[signs] + OVERLAP <= now
        then = now - min(OVERLAP, timedelta(hours=back))
        assert signs in plan(known(made_at, then), then).accepted


@given(MADE, HOURS, st.integers(0, int(OVERLAP / timedelta(hours=1))))
def test_who_syncs_once_an_overlap_always_knows_the_key_that_signs(
    made_at: list[datetime], hour: int, later: int
) -> None:
    """What was accepted at any time holds the key of every moment until an overlap later."""
    learnt_at, now = at(hour), at(hour + later)
    accepted = plan(known(made_at, learnt_at), learnt_at).accepted
    assert plan(known(made_at, now), now).signs in accepted


@given(MADE, HOURS, HOURS)
def test_keys_take_over_in_their_order(made_at: list[datetime], hour: int, later: int) -> None:
    """Time never gives an older key the word again, nor accepts again what was dropped."""
    before, after = at(hour), at(hour + later)
    one, two = plan(known(made_at, before), before), plan(known(made_at, after), after)
    assert one.signs <= two.signs
    assert min(one.accepted) <= min(two.accepted)


def test_an_old_key_is_accepted_for_an_overlap_after_its_last_use() -> None:
    """For what it signed just before the next one took over; then no longer."""
    made_at = [START, START + timedelta(days=10)]
    takes_over = made_at[1] + OVERLAP
    moment = timedelta(seconds=1)
    assert plan(made_at, takes_over - moment).signs == 0
    assert plan(made_at, takes_over).signs == 1
    assert plan(made_at, takes_over + OVERLAP - moment).accepted == (0, 1)
    assert plan(made_at, takes_over + OVERLAP).accepted == (1,)


def test_two_rotations_at_once_skip_the_key_between() -> None:
    """The newest of the ripe ones signs."""
    made_at = [START, START, START]
    assert plan(made_at, START).signs == 0
    assert plan(made_at, START).accepted == (0, 1, 2)
    assert plan(made_at, START + OVERLAP).signs == 2
