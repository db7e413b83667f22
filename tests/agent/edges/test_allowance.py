"""How much goes up on a day: counted on disk, put off to the next day, never lost."""

from pathlib import Path

from headwater_agent.core import allowance
from headwater_agent.core.session import DAY_MS, Sent
from headwater_agent.edges.allowance import FILE, DailyAllowance
from hypothesis import given
from hypothesis import strategies as st

DAY_S = DAY_MS / 1000
UPLOADS = st.lists(st.tuples(st.integers(1, 200), st.integers(0, DAY_MS)), max_size=30)  # size, and time since the last


class Box:
    """A box with a clock; each life reads the file again."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.now_s = 20_000 * DAY_S + 3600.0

    def life(self) -> DailyAllowance:
        """Start the agent."""
        return DailyAllowance(self.state, 100, lambda: self.now_s)


def test_what_does_not_fit_waits_for_the_next_day(tmp_path: Path) -> None:
    """A restart forgets nothing; a smaller one may still go."""
    box = Box(tmp_path)
    assert box.life().wait_s(60) == 0 and box.life().take(60) == 0
    assert box.life().take(50) == box.life().wait_s(50) == DAY_S - 3600
    assert box.life().take(40) == 0
    box.now_s += DAY_S - 3600
    assert box.life().take(50) == 0


def test_one_that_no_day_has_room_for_is_the_first_of_one(tmp_path: Path) -> None:
    """Late, and not lost."""
    box = Box(tmp_path)
    assert box.life().take(1) == 0 and box.life().take(1000) > 0
    box.now_s += DAY_S
    assert box.life().take(1000) == 0 and box.life().take(1) > 0


def test_a_damaged_or_unwritable_counter_stops_nothing(tmp_path: Path) -> None:
    """It counts from nothing, or for this life alone."""
    (tmp_path / FILE).write_text("nonsense")
    assert Box(tmp_path).life().take(60) == 0
    nowhere = Box(tmp_path / "gone").life()
    assert nowhere.take(60) == 0 and nowhere.take(60) > 0


def test_a_clock_that_was_wrong_keeps_nothing_back(tmp_path: Path) -> None:
    """Set back by years nothing waits for years, nor is what went up forgotten; by a day, the day goes on counting."""
    box = Box(tmp_path)
    assert box.life().take(60) == 0
    box.now_s -= DAY_S
    assert 0 < box.life().take(60) <= 2 * DAY_S
    box.now_s -= 365 * DAY_S
    assert 0 < box.life().take(60) <= DAY_S
    assert box.life().take(40) == 0


@given(UPLOADS)
def test_no_day_gets_more_than_its_limit_but_for_a_first(uploads: list[tuple[int, int]]) -> None:
    """However uploads come; and whoever waits as long as told goes up then."""
    spent, now_ms, days = Sent(), 20_000 * DAY_MS, dict[int, list[int]]()
    for size, pause_ms in uploads:
        now_ms += pause_ms
        spent, wait_s = allowance.take(spent, size, limit=100, now_ms=now_ms)
        if wait_s:
            now_ms += round(wait_s * 1000)
            assert now_ms % DAY_MS == 0, "it is midnight"
            spent, wait_s = allowance.take(spent, size, limit=100, now_ms=now_ms)
        assert not wait_s
        days.setdefault(now_ms // DAY_MS, []).append(size)
    assert all(len(day) == 1 or sum(day) <= 100 for day in days.values())
