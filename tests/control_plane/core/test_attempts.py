"""Failed attempts, by address."""

import pytest
from headwater_control.core.attempts import Attempts, Bucket, Pace, filled, source_of, spent, wait_s
from hypothesis import given
from hypothesis import strategies as st

PACE = Pace(burst=3, every_s=10.0)
TIMES = st.lists(st.floats(-1e6, 1e6), max_size=30)


def test_a_burst_then_one_every_few_seconds() -> None:
    """Three at once, then a wait of ten seconds each; a long pause gives three again, and no more."""
    attempts = Attempts(PACE)
    for _ in range(3):
        assert attempts.wait_s("192.0.2.1", 100.0) == 0
        attempts.failed("192.0.2.1", 100.0)
    assert attempts.wait_s("192.0.2.1", 100.0) == 10
    assert attempts.wait_s("192.0.2.1", 104.0) == 6
    assert attempts.wait_s("192.0.2.2", 100.0) == 0
    assert attempts.wait_s("192.0.2.1", 110.0) == 0
    attempts.failed("192.0.2.1", 110.0)
    assert attempts.wait_s("192.0.2.1", 110.0) == 10
    for _ in range(3):
        assert attempts.wait_s("192.0.2.1", 10_000.0) == 0
        attempts.failed("192.0.2.1", 10_000.0)
    assert attempts.wait_s("192.0.2.1", 10_000.0) == 10


@given(TIMES)
def test_whatever_the_clock_does_nobody_waits_longer_than_one_turn(times: list[float]) -> None:
    """Set back or forward, what is left stays between nothing and a burst."""
    bucket = Bucket(3.0, 0.0)
    for now in times:
        bucket = spent(bucket, now, PACE)
        assert 0 <= bucket.left <= 3
        assert 0 <= wait_s(bucket, now, PACE) <= 10
        assert wait_s(bucket, now + 10, PACE) < 1e-6  # floats
        assert filled(bucket, now - 1, PACE).left == bucket.left


def test_memory_is_bounded() -> None:
    """Of very many addresses those that failed longest ago are forgotten."""
    attempts = Attempts(Pace(1, 10.0), most=2)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        attempts.failed(address, 0.0)
    assert [attempts.wait_s(f"192.0.2.{number}", 0.0) > 0 for number in (1, 2, 3)] == [True, False, True]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "", True),
        ("somewhere", "elsewhere", False),
    ],
)
def test_one_customer_s_addresses_count_together(one: str, other: str, same: bool) -> None:
    """Whoever has a /64 has 2^64 addresses, and could try from each."""
    assert (source_of(one) == source_of(other)) == same
