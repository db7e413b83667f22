"""Whether a box may train: each condition alone, what is unknown, and nothing that flaps."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from headwater_agent.core.conditions import NAMES, Readings, Standing, Wanted, advance
from headwater_agent.core.hours import Moment, Window, parse
from headwater_wire.messages import ConditionState
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD = Readings(True, None, 50.0, 1.0, 1.0, 1.0, 1.0, 10**12, False, Moment(0, 60))
STRICT = Wanted(True, 30.0, 80.0, 20.0, 30.0, 40.0, 50.0, 500.0, True, parse(("01:00-02:00",)), None, 60.0)
NIGHT = parse(("Mon-Fri 22:00-06:00", "Sat,Sun 00:00-24:00"))


def judged(wanted: Wanted, readings: Readings) -> dict[str, ConditionState]:
    """Give each condition's state by its name, on the first look."""
    return {found.name: found.state for found in advance(Standing(), wanted, readings, 0.0).conditions}


def unmet(standing: Standing) -> set[str]:
    """Name what is not met."""
    return {found.name for found in standing.conditions if found.state is ConditionState.UNMET}


def test_a_box_that_has_all_it_needs_may_train() -> None:
    """Each condition is told, and none waited for."""
    assert judged(STRICT, GOOD) == dict.fromkeys(NAMES, ConditionState.OK)
    assert advance(Standing(), STRICT, GOOD, 0.0).waiting == ""


@pytest.mark.parametrize(
    ("name", "bad", "told"),
    [
        ("power", replace(GOOD, on_mains=False, battery=99.0), "it is on battery (conditions.mains)"),
        ("temperature", replace(GOOD, celsius=80.4), "it has 80 °C (conditions.max_celsius is 80)"),
        ("memory", replace(GOOD, memory_pressure=25.0), "25 % of the time, and 20 is the limit"),
        ("cpu-pressure", replace(GOOD, cpu_pressure=35.0), "35 % of the time, and 30 is the limit"),
        ("cpu", replace(GOOD, cpu_busy=45.0), "busy otherwise 45 % of the time, and 40 is the limit"),
        ("gpu", replace(GOOD, gpu_busy=99.0), "99 % of the time, and 50 is the limit"),
        ("disk", replace(GOOD, free_bytes=499_000_000), "its disk has 499 MB left (conditions.min_free_mb is 500)"),
        ("network", replace(GOOD, metered=True), "its network is metered (conditions.avoid_metered)"),
        ("hours", replace(GOOD, moment=Moment(4, 120)), "it is Fri 02:00 there, outside of its hours (01:00-02:00)"),
        ("maintenance", replace(GOOD, maintenance="until 12:00 (new disk)"), "until 12:00 (new disk)"),
        ("sensors", replace(GOOD, silence="they do not answer"), "they do not answer"),
    ],
)
def test_each_condition_is_lost_for_a_reason(name: str, bad: Readings, told: str) -> None:
    """In words, with the setting to change; the others stay as they were."""
    standing = advance(Standing(), STRICT, bad, 0.0)
    assert [c.name for c in standing.conditions if c.state is ConditionState.UNMET] == [name]
    assert told in standing.waiting


def test_what_cannot_be_told_is_allowed_unless_it_is_required() -> None:
    """Of a box that tells nothing only a person's lock is known, and that it was asked."""
    known = dict.fromkeys(("maintenance", "sensors"), ConditionState.OK)
    unknown = dict.fromkeys(NAMES, ConditionState.UNKNOWN) | known
    blind = replace(STRICT, require=())
    assert judged(blind, Readings()) == unknown and advance(Standing(), blind, Readings(), 0.0).waiting == ""
    strict = advance(Standing(), replace(blind, require=("temperature",)), Readings(), 0.0)
    assert "its temperature can't be told here" in strict.waiting
    assert {state for name, state in judged(STRICT, Readings()).items() if name not in known} == {ConditionState.UNMET}


def test_a_battery_is_spared_unless_mains_is_there() -> None:
    """By default from 30 % down; a battery that tells no level is unknown."""
    on_battery = replace(GOOD, on_mains=False)
    found = [judged(Wanted(), replace(on_battery, battery=percent))["power"] for percent in (29.0, 30.0, None)]
    assert found == [ConditionState.UNMET, ConditionState.OK, ConditionState.UNKNOWN]
    assert judged(Wanted(), replace(GOOD, battery=5.0))["power"] is ConditionState.OK
    assert judged(Wanted(min_battery=0.0), replace(on_battery, battery=1.0))["power"] is ConditionState.OK


def test_without_limits_nothing_is_waited_for() -> None:
    """A 0 sets none, whatever is read."""
    free = Wanted(min_battery=0, max_celsius=0, max_memory_pressure=0, min_free_mb=0)
    worst = Readings(False, 0.0, 200.0, 100.0, 100.0, 100.0, 100.0, 0, True, Moment(0, 0))
    assert advance(Standing(), free, worst, 0.0).waiting == ""


def test_what_was_put_off_goes_on_once_things_have_stayed_well_for_a_while() -> None:
    """Hot at once; cooler by a little is not cool yet; cool again must last, and begins anew when it doesn't."""
    wanted, standing = Wanted(max_celsius=80.0, settle_s=60.0), Standing()
    course = [
        (0, 79.0, ""),
        (10, 81.0, "it has 81 °C"),
        (20, 78.0, "it has 78 °C"),
        (30, 74.0, "must stay so for 60 s"),
        (60, 79.0, "must stay so for 60 s"),
        (70, 82.0, "it has 82 °C"),
        (80, 70.0, "must stay so for 60 s"),
        (139, 70.0, "must stay so for 60 s"),
        (140, 70.0, ""),
    ]
    for at_s, celsius, told in course:
        standing = advance(standing, wanted, replace(GOOD, celsius=celsius), float(at_s))
        assert (told in standing.waiting) if told else not standing.waiting, at_s
        unmet = [c for c in standing.conditions if c.state is ConditionState.UNMET]
        assert bool(unmet) is bool(standing.waiting), "what it tells is what it does"


def test_a_window_or_a_person_need_no_second_thought() -> None:
    """What was put off for them alone goes on at once."""
    for lost in (replace(GOOD, maintenance="until 12:00"), replace(GOOD, moment=Moment(0, 0))):
        standing = advance(Standing(), STRICT, lost, 0.0)
        assert standing.waiting and not advance(standing, STRICT, GOOD, 1.0).waiting


PERCENT = st.one_of(st.none(), st.floats(0, 100))
READINGS = st.builds(
    Readings,
    on_mains=st.sampled_from((None, True, False)),
    battery=PERCENT,
    celsius=st.one_of(st.none(), st.floats(-20, 120)),
    memory_pressure=PERCENT,
    cpu_pressure=PERCENT,
    cpu_busy=PERCENT,
    gpu_busy=PERCENT,
    free_bytes=st.one_of(st.none(), st.integers(0, 10**9)),
    metered=st.sampled_from((None, True, False)),
    moment=st.one_of(st.none(), st.builds(Moment, st.integers(0, 6), st.integers(0, 1439))),
    maintenance=st.sampled_from(("", "a person is at it")),
    silence=st.sampled_from(("", "a driver hangs")),
)


def test_a_pause_makes_nothing_settle_sooner() -> None:
    """Whether it begins before the box is cool again or after; one that lasts longer has nothing left to wait for."""
    hot, paused = replace(GOOD, celsius=99.0), replace(GOOD, maintenance="until 12:00")
    for course in (
        [(0, hot), (10, paused)],
        [(0, hot), (10, GOOD), (20, paused)],
        [(0, replace(hot, maintenance="x"))],
    ):
        standing = Standing()
        for at_s, readings in course:
            standing = advance(standing, STRICT, readings, float(at_s))
        standing = advance(standing, STRICT, GOOD, 30.0)
        assert "must stay so" in standing.waiting
    for at_s, readings, waits in (
        (0, hot, True),
        (10, paused, True),
        (70, paused, True),
        (80, GOOD, False),
    ):
        standing = advance(standing, STRICT, readings, float(at_s))
        assert bool(standing.waiting) is waits


@given(st.lists(st.tuples(st.floats(0, 50), READINGS), min_size=1, max_size=20))
def test_a_box_never_goes_on_sooner_than_it_settles(course: list[tuple[float, Readings]]) -> None:
    """Whatever is read, in whatever order: between a lost condition and the next training lie `settle_s` at least."""
    standing, at_s, lost_s = Standing(), 0.0, None
    for pause_s, readings in course:
        at_s += pause_s
        standing = advance(standing, STRICT, readings, at_s)
        if not standing.waiting and lost_s is not None:
            assert at_s - lost_s >= STRICT.settle_s
            lost_s = None
        if found := unmet(advance(Standing(), STRICT, readings, at_s)):
            lost_s = at_s if found - {"hours", "maintenance", "sensors"} else lost_s
            assert standing.waiting, "a lost condition counts at once"
    assert {condition.name for condition in standing.conditions} >= set(NAMES)


@given(READINGS)
def test_what_is_met_stays_met_while_nothing_changes(readings: Readings) -> None:
    """The margin is for the way back only."""
    first = advance(Standing(), STRICT, readings, 0.0)
    assert advance(first, STRICT, readings, 1000.0).waiting == first.waiting
    assert len(fields(readings)) == 12, "a new reading has a place in these tests too"


@pytest.mark.parametrize(
    ("day", "time", "inside"),
    [
        (4, "21:59", False),
        (4, "22:00", True),
        (4, "23:59", True),
        (5, "05:59", True),
        (5, "12:00", True),
        (0, "00:00", False),  # the night from Sunday to Monday is no weekday's
        (0, "22:00", True),
        (1, "05:59", True),
        (1, "06:00", False),
    ],
)
def test_a_window_may_go_past_midnight(day: int, time: str, inside: bool) -> None:
    """It belongs to the day on which it begins."""
    hour, minute = time.split(":")
    assert NIGHT.hold(Moment(day, int(hour) * 60 + int(minute))) is inside


@settings(max_examples=30)  # of ten thousand minutes each
@given(st.frozensets(st.integers(0, 6)), st.integers(0, 1439), st.integers(0, 1440))
def test_a_window_is_as_long_as_it_says(days: frozenset[int], start: int, end: int) -> None:
    """Minute by minute over a week, and a window without an end takes a day."""
    window = Window(days, start, end)
    week = [Moment(day, minute) for day in range(7) for minute in range(1440)]
    assert sum(window.holds(moment) for moment in week) == len(days) * ((end - start - 1) % 1440 + 1)


@pytest.mark.parametrize(
    "text", ["", "22:00", "22-06", "24:00-06:00", "22:00-24:01", "Fry 22:00-06:00", "22:60-23:00", "Mon Tue 1:00-2:00"]
)
def test_what_is_no_window_is_refused(text: str) -> None:
    """With an example of one that is."""
    with pytest.raises((ValueError), match=r"no window|not spelled|begins at|beyond"):
        parse((text,))


def test_a_clock_put_forward_or_back_keeps_to_the_wall() -> None:
    """In Berlin a window from 01:30 to 03:30 is an hour shorter in the night of 29 March 2026, longer on 25 October."""
    hours, berlin = parse(("01:30-03:30",)), ZoneInfo("Europe/Berlin")

    def minutes(begin: datetime) -> int:
        instants = (begin + timedelta(minutes=minute) for minute in range(8 * 60))
        local = (instant.astimezone(berlin) for instant in instants)
        return sum(hours.hold(Moment(at.weekday(), at.hour * 60 + at.minute)) for at in local)

    assert minutes(datetime(2026, 3, 28, 22, tzinfo=UTC)) == 60
    assert minutes(datetime(2026, 10, 24, 22, tzinfo=UTC)) == 180
    assert minutes(datetime(2026, 6, 24, 22, tzinfo=UTC)) == 120
