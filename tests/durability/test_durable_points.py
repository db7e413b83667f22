"""A sample of `make durability`: a history in which everybody dies, or finds the disk full, at durable calls."""

from pathlib import Path

import pytest
from headwater.demo.processes import ControlPlane

from tests.durability import interposer
from tests.durability.history import check_disk, history

pytestmark = pytest.mark.long

CONTROL = (35, 65, 80)  # of 161, counted anew in each life: its first start, while boxes enrol, and in the round
# Of 46 in a first start: the audit log's first entry and the file that names it, a key, the first token's commit, the
# file of its addresses.
START = (16, 18, 33, 42, 44)
STOP_S = 20.0
BOX_1 = (30, 47)  # of 60: a record in the journal, the move of a delta into the spool
BOX_2 = (4, 31)  # the making of the journal, and a record in it


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


@pytest.mark.parametrize("number", START)
def test_a_start_that_the_disk_refuses_is_a_sentence_and_the_next_one_works(tmp_path: Path, number: int) -> None:
    """It says what to look after, without a traceback."""
    guard, data = tmp_path / "guard", tmp_path / "data"
    with ControlPlane(data, env=interposer.failing("EIO", guard, number)) as first:
        assert first.wait(STOP_S) in {1, 2}
        told = first.tail()
    assert interposer.missed(guard, number) == []
    assert "headwater serve: " in told
    assert any(word in told for word in ("Input/output error", "disk I/O error"))
    assert "Traceback" not in told
    with ControlPlane(data) as second:
        second.ready()
