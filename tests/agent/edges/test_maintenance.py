"""The maintenance lock on disk."""

from pathlib import Path

import pytest
from headwater_agent.core.maintenance import LATEST_MS, Instant, Lock, objection
from headwater_agent.edges.maintenance import FILE, MaintenanceFile, instant
from hypothesis import example, given
from hypothesis import strategies as st

FIVE = Instant(5, 7, "this start")


@pytest.mark.parametrize("lock", [Lock(FIVE), Lock(FIVE, 9), Lock(Instant(5), 9, "a fan, ‘new’")])
def test_a_lock_comes_back_until_it_is_taken_away(tmp_path: Path, lock: Lock) -> None:
    """After a restart too; to take none away is no mistake."""
    assert MaintenanceFile(tmp_path).read() is None
    MaintenanceFile(tmp_path).write(lock)
    assert MaintenanceFile(tmp_path).read() == lock
    for _ in range(2):
        MaintenanceFile(tmp_path).write(None)
        assert MaintenanceFile(tmp_path).read() is None


def test_a_record_that_names_no_start_of_the_kernel_is_one_all_the_same(tmp_path: Path) -> None:
    """Its clock tells when it is over."""
    (tmp_path / FILE).write_bytes(b'{"since_ms": 1, "until_ms": 9, "reason": "fan"}')
    assert MaintenanceFile(tmp_path).read() == Lock(Instant(1), 9, "fan")


RUST = [
    b"",
    b"{",
    b"[]",
    b"{}",
    b'{"since_ms": 1, "up_ms": 1, "boot": "b", "until_ms": "x", "reason": ""}',
    b'{"since_ms": 1, "up_ms": -1, "boot": "b", "until_ms": null, "reason": ""}',
    b"\xff",
    b'{"since_ms": 1, "up_ms": 1, "boot": "", "until_ms": 99999999999999999, "reason": ""}',
    b'{"since_ms": 1, "up_ms": 1, "boot": "", "until_ms": 253402300800000, "reason": ""}',
    b'{"since_ms": 1, "up_ms": 1, "boot": "", "until_ms": -62135596800001, "reason": ""}',
    b'{"since_ms": 1, "up_ms": 1, "boot": "", "until_ms": 1e400, "reason": ""}',
    b'{"since_ms": NaN, "up_ms": 1, "boot": "", "until_ms": null, "reason": ""}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("rust", RUST, ids=lambda rust: rust[:60].decode(errors="replace"))
def test_a_record_that_cannot_be_read_is_a_lock(tmp_path: Path, rust: bytes) -> None:
    """Somebody had paused; what to do stands in it, and ends it. Nor does its time end whoever tells it."""
    (tmp_path / FILE).write_bytes(rust)
    found = MaintenanceFile(tmp_path).read()
    assert found is not None and found.until_ms is None and "resume" in found.reason
    assert "resume" in objection(found, now=Instant(0))
    MaintenanceFile(tmp_path).write(None)
    assert MaintenanceFile(tmp_path).read() is None


@given(st.integers(0, LATEST_MS))
@example(LATEST_MS)
def test_every_time_of_the_calendar_can_be_told(until_ms: int) -> None:
    """To the end of its last year."""
    assert objection(Lock(Instant(0), until_ms), now=Instant(-1)).startswith("paused on the box until ")


def test_an_instant_is_of_this_start_of_the_kernel() -> None:
    """Two of them are of the same, in their order; the box's own clock may say what it likes."""
    first, second = instant(), instant()
    assert first.boot == second.boot and first.up_ms <= second.up_ms and first.ms > 0
