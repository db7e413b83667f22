"""What a start finds in a data directory whose last owner was killed."""

from pathlib import Path

from headwater_control.datadir import claimed


def test_what_a_kill_left_half_written_is_gone_after_a_start(tmp_path: Path) -> None:
    """No debris gathers over many kills; the dead process's name, in leases, is still known."""
    with claimed(tmp_path) as first:
        pass
    (tmp_path / ".hw-tmp-0123456789abcdef").write_bytes(b"{")
    with claimed(tmp_path) as second:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["holder", "lock", "work"]
        assert second.previous_holder == first.holder
