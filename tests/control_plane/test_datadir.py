"""What a start finds in a data directory: what a killed owner left, and who may look into it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from headwater_control.datadir import claimed
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.edges.store import open_store


def test_what_a_kill_left_half_written_is_gone_after_a_start(tmp_path: Path) -> None:
    """No debris gathers over many kills; the dead process's name, in leases, is still known."""
    with claimed(tmp_path) as first:
        pass
    (tmp_path / ".hw-tmp-0123456789abcdef").write_bytes(b"{")
    with claimed(tmp_path) as second:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["holder", "lock", "work"]
        assert second.previous_holder == first.holder


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"control-\0\0\0"])
def test_a_damaged_name_of_the_last_process_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    """Its leases end by themselves; PostgreSQL would refuse to be asked for such a name."""
    (tmp_path / "holder").write_bytes(damage)
    with claimed(tmp_path) as held:
        assert held.previous_holder == ""
    assert any("holder is damaged" in line for line in caplog.messages) is bool(damage)
    with claimed(tmp_path) as again:
        assert again.previous_holder == held.holder


@pytest.fixture
def generous() -> Iterator[None]:
    """Let new files be readable and writable by everybody, unless somebody says otherwise."""
    former = os.umask(0)
    yield
    os.umask(former)


@pytest.mark.usefixtures("generous")
async def test_in_a_directory_that_others_can_read_the_files_are_private(tmp_path: Path) -> None:
    """The database with its log and index, and the folders of blobs and of work, whatever the umask."""
    data = tmp_path / "data"
    data.mkdir(0o755)
    with claimed(data) as held:
        async with open_store(f"sqlite:///{data / 'headwater.db'}") as store, store.write() as tx:
            await tx.live_blobs()
            await FolderBlobs(held.blobs).put(b"what a box learnt")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()}
    assert {name: mode for name, mode in modes.items() if name not in {"holder", "lock"}} == {
        "headwater.db": 0o600, "headwater.db-wal": 0o600, "headwater.db-shm": 0o600, "blobs": 0o700, "work": 0o700,
    }  # fmt: skip


@pytest.mark.parametrize(("mode", "lines"), [(0o700, 0), (0o750, 1), (0o705, 1), (0o711, 1)])
def test_a_directory_that_is_open_to_others_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, lines: int
) -> None:
    """In one line at the start, with what to do; one that is made now is private."""
    tmp_path.chmod(mode)
    with claimed(tmp_path), claimed(tmp_path / "made"):
        pass
    assert [f"mode {mode:04o}): `chmod 700 {tmp_path}`" in line for line in caplog.messages] == [True] * lines
