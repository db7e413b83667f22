"""How the doctor judges figures: what is fine, what will not be, what has failed; and what to do about each."""

from datetime import UTC, datetime, timedelta

import pytest
from headwater_agent.core.findings import Finding, Health, certificate, clock, disk, server, span
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("begins", "ends", "health", "words"),
    [
        (NOW - 10 * DAY, NOW + 80 * DAY, Health.OK, "80 days left"),
        (NOW - 70 * DAY, NOW + 20 * DAY, Health.WARNING, "20 days left"),
        (NOW - 91 * DAY, NOW - DAY, Health.WARNING, "it ended on 2026-05-31"),
        (NOW - 500 * DAY, NOW - 400 * DAY, Health.FAILED, "more than a year ago"),
        (NOW + DAY, NOW + 91 * DAY, Health.FAILED, "it begins on 2026-06-02"),
    ],
)
def test_a_certificate(begins: datetime, ends: datetime, health: Health, words: str) -> None:
    """Good, due long ago, ended, too old to be renewed, or of a future that a slow clock has not seen."""
    found = certificate(begins, ends, NOW)
    assert found.health is health and words in found.found


@pytest.mark.parametrize(
    ("ahead_s", "told", "health", "words"),
    [
        (0.3, None, Health.OK, "within 0.3 s"),
        (-59.0, None, Health.OK, "within 59.0 s"),
        (600.0, None, Health.WARNING, "10 min ahead of"),
        (-7200.0, None, Health.WARNING, "2 h behind"),
        (-3 * 86_400.0, None, Health.FAILED, "3 days behind"),
        (None, None, Health.UNKNOWN, "no control plane told its time"),
        (None, NOW - DAY, Health.UNKNOWN, "no control plane told its time"),
        (None, NOW + DAY, Health.FAILED, "behind what the control plane told last"),
        (0.0, NOW + DAY, Health.OK, "within"),
    ],
)
def test_a_clock(ahead_s: float | None, told: datetime | None, health: Health, words: str) -> None:
    """By the server's time; without it, one that is behind what was told before must be slow."""
    found = clock(ahead_s, NOW, told)
    assert found.health is health and words in found.found


@pytest.mark.parametrize(
    ("free", "health"), [(49_000_000, Health.FAILED), (150_000_000, Health.WARNING), (200_000_000, Health.OK)]
)
def test_a_disk(free: int, health: Health) -> None:
    """By what a journal needs, and by what training wants."""
    assert disk(free, 200).health is health


def test_a_server_whose_certificate_ends_soon_is_told_of() -> None:
    """The operator can do something about it before every box is cut off."""
    assert server("broker", "b:1", NOW + 6 * DAY, NOW).health is Health.WARNING
    assert server("broker", "b:1", NOW + 8 * DAY, NOW).health is Health.OK


@given(
    st.one_of(
        st.builds(disk, st.integers(0, 1 << 40), st.floats(0, 1e6)),
        st.builds(clock, st.none() | st.floats(-1e7, 1e7), st.just(NOW), st.none() | st.datetimes(
            datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001 (hypothesis adds it)
    )
)  # fmt: skip
def test_whatever_is_not_fine_says_what_to_do(found: Finding) -> None:
    """And what is fine does not."""
    assert bool(found.advice) == (found.health is not Health.OK)


@pytest.mark.parametrize(("seconds", "words"), [(5, "5 s"), (119, "119 s"), (600, "10 min"), (172_800, "2 days")])
def test_a_time_is_told_roughly(seconds: float, words: str) -> None:
    """As a person would."""
    assert span(seconds) == words
