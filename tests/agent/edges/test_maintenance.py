"""The maintenance lock on disk."""

from pathlib import Path

import pytest
from headwater_agent.core.maintenance import Lock
from headwater_agent.edges.maintenance import FILE, MaintenanceFile


@pytest.mark.parametrize("lock", [Lock(5), Lock(5, 9), Lock(5, 9, "a fan, ‘new’")])
def test_a_lock_comes_back_until_it_is_taken_away(tmp_path: Path, lock: Lock) -> None:
    """After a restart too; to take none away is no mistake."""
    assert MaintenanceFile(tmp_path).read() is None
    MaintenanceFile(tmp_path).write(lock)
    assert MaintenanceFile(tmp_path).read() == lock
    for _ in range(2):
        MaintenanceFile(tmp_path).write(None)
        assert MaintenanceFile(tmp_path).read() is None


@pytest.mark.parametrize("rust", [b"", b"{", b"[]", b"{}", b'{"since_ms": 1, "until_ms": "x", "reason": ""}', b"\xff"])
def test_a_record_that_cannot_be_read_is_a_lock(tmp_path: Path, rust: bytes) -> None:
    """Somebody had paused; what to do stands in it."""
    (tmp_path / FILE).write_bytes(rust)
    found = MaintenanceFile(tmp_path).read()
    assert found is not None and found.until_ms is None and "resume" in found.reason
