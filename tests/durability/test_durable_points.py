"""A sample of `make durability`: a history in which everybody dies, or finds the disk full, at durable calls."""

from pathlib import Path

import pytest

from tests.durability import interposer
from tests.durability.history import check_disk, history

pytestmark = pytest.mark.long

CONTROL = (30, 60, 75)  # of 156, counted anew in each life: its first start, while boxes enrol, and in the round
BOX_1 = (21, 38)  # of 50: a record in the journal, the move of a delta into the spool
BOX_2 = (4, 23)  # the making of the journal, and a record in it


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
