"""Checkpoints on disk: what was written comes back bit for bit, and what is damaged is noticed."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.training import checkpoint
from headwater_agent.training.checkpoint import Place, Unusable, read, write
from headwater_agent.training.engine import Score, Session, State
from headwater_agent.training.errors import Interrupted, NotPossible
from headwater_agent.training.heads import newest_step
from headwater_agent.training.keeper import Keeper
from headwater_agent.training.protocol import Checkpoints
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

PLACE = Place(7, 0.1 + 0.2, Score(1.5, 3.0, 0.25), 12.5)
STATE: State = {"parameters": np.arange(5, dtype=np.float32), "slot m": np.full(5, np.nan, np.float32)}
FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLACES = st.builds(Place, st.integers(0, 2**40), FINITE, st.builds(Score, FINITE, FINITE, FINITE), FINITE)
STATES = st.dictionaries(
    st.text(min_size=1, max_size=8),
    arrays.arrays(np.uint32, st.integers(1, 9)).map(lambda bits: bits.view(np.float32)),  # each NaN is one of its own
    min_size=1,
    max_size=3,
)


class Held:
    """A session as far as a keeper knows it: a state that is shown, and changes with each step."""

    def __init__(self, clock: "Training") -> None:
        self.steps = 0
        self.clock, self.writing_s = clock, 0.0

    def state(self) -> State:
        """Show it, as a first part of writing it."""
        self.clock.now_s += self.writing_s
        return {"parameters": np.full(3, self.steps, np.float32)}


class Training:
    """Steps of a training that writes checkpoints, by a clock that the test moves."""

    def __init__(self, folder: Path, kept: Checkpoints | None = None, of: str = "t1", max_minutes: float = 0.0) -> None:
        self.now_s = 0.0
        self.asked = False
        self.held = Held(self)
        kept = kept or Checkpoints(str(folder))
        self.keeper = Keeper(kept, of, lambda: self.asked, lambda: self.now_s, max_minutes)

    def step(self, seconds: float) -> None:
        """Take one that lasts so long."""
        self.now_s += seconds
        self.held.steps += 1
        session: Session = self.held  # type: ignore[assignment]  # the rest of a session is of no use here
        self.keeper.passed(replace(PLACE, steps=self.held.steps), session)


def kept(folder: Path) -> list[int]:
    """Say after how many steps the checkpoints in a folder were written."""
    return sorted(read(path, "t1")[0].steps for path in folder.iterdir())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLACES, STATES)
def test_what_was_written_comes_back_bit_for_bit(tmp_path: Path, place: Place, state: State) -> None:
    """The place with its sums, and each number, NaNs with their bits."""
    write(tmp_path / "0", "t1", place, state)
    found, back = read(tmp_path / "0", "t1")
    assert found == place
    assert {name: values.tobytes() for name, values in back.items()} == {n: v.tobytes() for n, v in state.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    """Whatever a disk does to it, it is not used."""
    path = tmp_path / "0"
    write(path, "t1", PLACE, STATE)
    whole = path.read_bytes()
    damaged = [whole[:end] for end in range(len(whole))] + [whole + b"\0"]
    damaged += [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(Unusable):
            read(path, "t1")


def test_another_trainings_checkpoint_is_not_used(tmp_path: Path) -> None:
    """It says so; and so does a file that isn't there."""
    write(tmp_path / "0", "t1", PLACE, STATE)
    with pytest.raises(Unusable, match="another training"):
        read(tmp_path / "0", "t2")
    with pytest.raises(Unusable, match="can't be read"):
        read(tmp_path / "1", "t1")


def test_one_is_written_when_its_time_has_come(tmp_path: Path) -> None:
    """Of steps of 25 s each, every third; at most two are kept, the newest."""
    training = Training(tmp_path)
    seen = []
    for _ in range(10):
        training.step(25.0)
        seen.append(kept(tmp_path))
    assert seen == [[], [], [3], [3], [3], [3, 6], [3, 6], [3, 6], [6, 9], [6, 9]]


def test_what_is_slow_to_write_is_written_less_often(tmp_path: Path) -> None:
    """So that a twentieth of the time goes into it at most: one that takes 30 s is due again after ten minutes."""
    training = Training(tmp_path)
    training.held.writing_s = 30.0
    for _ in range(20):
        training.step(60.0)
    assert kept(tmp_path) == [1, 11]


def test_one_is_written_after_so_many_steps(tmp_path: Path) -> None:
    """However little time they took; without either measure there is none."""
    training = Training(tmp_path, Checkpoints(str(tmp_path), every_s=0, every_steps=2))
    for _ in range(5):
        training.step(0.0)
    assert kept(tmp_path) == [2, 4]
    never = Training(tmp_path / "none", Checkpoints(str(tmp_path / "none"), every_s=0))
    never.step(1e9)


def test_the_newest_whole_one_is_gone_on_from(tmp_path: Path) -> None:
    """A damaged one is deleted, and what it would have replaced is used; the next is written where it was."""
    training = Training(tmp_path, Checkpoints(str(tmp_path), every_steps=1))
    for _ in range(3):
        training.step(0.0)
    newest_two = Training(tmp_path).keeper.recall()
    assert newest_two and newest_two[0].steps == 3
    newest = max(tmp_path.iterdir(), key=lambda path: read(path, "t1")[0].steps)
    newest.write_bytes(newest.read_bytes()[:-1])
    (tmp_path / "ab12.part").write_bytes(b"a write that was cut short")
    again = Training(tmp_path, Checkpoints(str(tmp_path), every_steps=1))
    recalled = again.keeper.recall()
    assert recalled and recalled[0].steps == 2 and recalled[1]["parameters"].tolist() == [2, 2, 2]
    assert kept(tmp_path) == [2]
    again.held.steps = 2
    again.step(0.0)
    assert kept(tmp_path) == [2, 3]


def test_one_state_at_a_time_is_in_memory(tmp_path: Path) -> None:
    """The older one stays on the disk: beside the session there is room for no second copy."""
    large: State = {"parameters": np.ones(1_000_000, np.float32)}
    for name, steps in (("0", 1), ("1", 2)):
        write(tmp_path / name, "t1", replace(PLACE, steps=steps), large)
    tracemalloc.start()
    try:
        recalled = Training(tmp_path).keeper.recall()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert recalled and recalled[0].steps == 2
    assert peak < 1.6 * checkpoint.size_bytes(large)


def test_a_head_tells_the_step_without_the_rest(tmp_path: Path) -> None:
    """The newest's; what makes no sense, or is not there, has come nowhere."""
    assert newest_step(tmp_path / "gone") == 0
    for name, steps in (("0", 12), ("1", 8)):
        write(tmp_path / name, "t1", replace(PLACE, steps=steps), STATE)
    assert newest_step(tmp_path) == 12
    (tmp_path / "0").write_bytes((tmp_path / "0").read_bytes()[:40])
    (tmp_path / "ab.part").write_bytes((tmp_path / "1").read_bytes())
    assert newest_step(tmp_path) == 8
    for nonsense in (b"", b"headwater checkpoint 1\n", b"headwater checkpoint 1\n\xff\xff\xff\xff", b"\0" * 99):
        (tmp_path / "1").write_bytes(nonsense)
        assert newest_step(tmp_path) == 0


def test_a_folder_is_made_when_there_is_room(tmp_path: Path) -> None:
    """A disk that is full at the start costs the first checkpoints, not the training, nor the later ones."""
    full = tmp_path / "disk"
    training = Training(tmp_path, Checkpoints(str(full / "t1"), every_steps=1))
    training.step(0.0)
    full.mkdir()
    training.step(0.0)
    assert kept(full / "t1") == [2]


def test_nothing_is_recalled_for_another_training(tmp_path: Path) -> None:
    """Neither from its checkpoints, which are deleted, nor from an empty folder, nor from none."""
    Training(tmp_path, Checkpoints(str(tmp_path), every_steps=1)).step(0.0)
    assert Training(tmp_path, of="t2").keeper.recall() is None and not list(tmp_path.iterdir())
    assert Training(tmp_path).keeper.recall() is None
    assert Training(tmp_path / "none").keeper.recall() is None and Keeper().recall() is None


def test_who_is_asked_to_stop_writes_one_first(tmp_path: Path) -> None:
    """Though none was due."""
    training = Training(tmp_path)
    training.step(1.0)
    training.asked = True
    with pytest.raises(Interrupted):
        training.step(1.0)
    assert kept(tmp_path) == [2]


def test_the_owner_s_minutes_are_those_of_all_lives(tmp_path: Path) -> None:
    """The seconds that earlier lives took count too: nobody trains longer by being paused."""
    for minutes, enough in ((0.2, False), (0.3, True), (0.0, True)):
        training = Training(tmp_path, max_minutes=minutes)
        if enough:
            training.step(0.0)
        else:
            with pytest.raises(NotPossible, match=r"policy\.max_minutes is 0\.2, and the training took longer"):
                training.step(0.0)


def test_a_checkpoint_that_cannot_be_written_costs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is to stay free, or a folder that is gone: told once, and the training goes on."""
    for hopeless in (
        Checkpoints(str(tmp_path), every_steps=1, keep_free_bytes=1 << 60),
        Checkpoints(str(tmp_path / "gone" / "gone"), every_steps=1),
    ):
        caplog.clear()
        training = Training(tmp_path, hopeless)
        for _ in range(3):
            training.step(0.0)
        assert len(caplog.records) == 1 and "no checkpoint" in caplog.text
    assert not list(tmp_path.iterdir()) and checkpoint.size_bytes(STATE) == 40
