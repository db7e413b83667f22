"""A sample of `make durability`: a history in which everybody dies, or finds the disk full, at durable calls."""

from pathlib import Path

import pytest
from headwater.demo.processes import ControlPlane

from tests.durability import interposer
from tests.durability.history import check_disk, history

pytestmark = pytest.mark.long

COMMIT = "fdatasync */headwater.db-wal"
RECORD = "fdatasync */journal.db-wal"
CONTROL = (
    "rename */keys/next",  # in its first start
    f"{COMMIT}#12",  # while boxes enrol
    "fsync */blobs/[0-9a-f]*#2",  # while it imports the model
    "fsync */blobs/staging/*",  # as the first delta has come
    "fsync */merged.safetensors",
)
BOX_1 = (f"{RECORD}#3", "rename */spool/*.delta")
BOX_2 = ("fdatasync */journal.db.part*#2", f"{RECORD}#3")  # the first while it makes its journal
# The audit log's first entry and the file that names it, a key, the first token's commit, the file of its addresses.
START = (f"{COMMIT}#5", "rename */database.id", "fsync */keys/.hw-tmp-*", f"{COMMIT}#6", "rename */endpoints.json")
STOP_S = 20.0


def test_killed_at_durable_calls_a_history_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    """A control plane and an agent killed, and an agent's full disk, change no bit of what is learnt."""
    control, one, two = (tmp_path / name for name in ("control", "one", "two"))
    env = interposer.failing("KILL", control, *CONTROL)
    boxes = {"box-1": interposer.failing("KILL", one, *BOX_1), "box-2": interposer.failing("ENOSPC", two, *BOX_2)}
    with history(tmp_path / "calm") as calm:
        _, undisturbed = calm.live()
    with history(tmp_path / "disturbed", env, boxes) as made:
        detail, digest = made.live()
    check_disk(made)
    assert (detail.run.state, digest) == ("completed", undisturbed)
    assert sorted(made.ends) == [("box-1", -9)] * len(BOX_1) + [("control plane", -9)] * len(CONTROL)
    missed = (interposer.missed(control, *CONTROL), interposer.missed(one, *BOX_1), interposer.missed(two, *BOX_2))
    assert missed == ([], [], [])


@pytest.mark.parametrize("call", START)
def test_a_start_that_the_disk_refuses_is_a_sentence_and_the_next_one_works(tmp_path: Path, call: str) -> None:
    """It says what to look after, without a traceback."""
    guard, data = tmp_path / "guard", tmp_path / "data"
    with ControlPlane(data, env=interposer.failing("EIO", guard, call)) as first:
        assert first.wait(STOP_S) in {1, 2}
        told = first.tail()
    assert interposer.missed(guard, call) == []
    assert "headwater serve: " in told
    assert any(word in told for word in ("Input/output error", "disk I/O error"))
    assert "Traceback" not in told
    with ControlPlane(data) as second:
        second.ready()
