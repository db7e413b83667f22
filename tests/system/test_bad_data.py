"""Bad data on some boxes, damage on others, one gone for good: no run stalls, and what is wrong is told."""

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from headwater.demo.processes import Agent
from headwater.errors import Invalid
from headwater.records import Run, RunDetail, Task
from headwater_control.core.seeds import shuffle_rank
from headwater_wire.ids import DeviceId

from tests.support.fleet import Crashes, Fleet, fleet, import_digits
from tests.support.waiting import until_now

pytestmark = pytest.mark.long

EXAMPLES = 40
IMAGES = np.random.default_rng(0).standard_normal((EXAMPLES, 8, 8), np.float32)
LABELS = np.arange(EXAMPLES) % 10
NAN_AT, MISLABELLED_AT = 17, 3
GOOD = ("good-1", "good-2")
# What stands in the way of each box that can't even be asked.
PROBLEMS = {
    "missing": "can't be read: No such file or directory",
    "empty": "holds no example",
    "nan": f"column 'image' holds nan in example {NAN_AT}; it must be finite",
    "shape": "image is float32[64], the model reads float32[1,8,8]",
    "dtype": "image is float64[1,8,8], the model reads float32[1,8,8]",
    "undeclared": "it has no dataset named digits (it has: others)",
}


def test_boxes_with_bad_data_stall_no_run_and_say_what_is_wrong(tmp_path: Path) -> None:
    """The good boxes complete the run; runs that only bad ones could do fail, or wait, for a reason that is told."""
    with fleet(tmp_path) as made:
        _add_good_and_bad(made)
        made.wait_registered()
        import_digits(made)
        until_now(lambda: _all_told(made), "each tells of its dataset")
        start = made.client.runs.start
        unusable = start(model="digits", dataset="digits", cohort={"data": "unusable"})
        with pytest.raises(Invalid, match=r"none of the 2 .* has a dataset named birds \(they have: digits\)"):
            start(model="digits", dataset="birds", cohort={"data": "good"})
        mixed = start(model="digits", dataset="digits", rounds=2, cohort={"fleet": "mixed"})
        mislabelled = start(model="digits", dataset="digits", rounds=1, cohort={"data": "mislabelled"})
        diverging = start(
            model="digits", dataset="digits", cohort={"data": "diverging"}, learning_rate=1e6, batch_size=4
        )
        _check_mixed(made.finish(mixed))
        _check_mislabelled(made.finish(mislabelled))
        _check_diverging(made.finish(diverging))
        _check_waiting(made, unusable)
        assert made.deaths == []


def test_damaged_boxes_lose_no_delta_and_one_that_is_gone_is_replaced(tmp_path: Path) -> None:
    """A flipped bit in a spool or a journal costs a training; what a dead box doesn't do, a spare does."""
    damaged = ("spool", "journal")
    crashes = {box: Crashes(tmp_path / "guards" / box, "agent.spooled") for box in damaged}
    with fleet(tmp_path, env={"HEADWATER_PRESENCE_GRACE_S": "1"}) as made:
        _add(made, "spool", {"lasts": "yes", "spare": "yes"}, images=IMAGES[:20], env=crashes["spool"].env)
        _add(made, "journal", {"lasts": "yes"}, env=crashes["journal"].env)
        _add(made, "gone", {"spare": "yes"}, env={"HEADWATER_CRASH_AT": "agent.training"})
        made.wait_registered()
        base = import_digits(made)
        gone = _never_to_be_revived(made, "gone")

        run = _start_lasting(made, base)
        until_now(lambda: all(made.agents[box].exit_code() is not None for box in damaged), "both die with a delta")
        (delta,) = (tmp_path / "spool" / "state" / "spool").iterdir()
        _flip(delta, delta.stat().st_size // 2)
        _flip_weight(tmp_path / "journal" / "state" / "journal.db")
        disturbed = made.finish(run)
        assert sorted(made.deaths) == sorted(damaged)
        assert "what it had trained is lost: the delta is damaged" in made.agents["spool"].log.read_text()
        told = made.agents["journal"].log.read_text()
        assert re.search(r"the record 'held/.*' is damaged and was left out; the next Sync heals", told), told

        replaced = _start_with_a_spare(made, base, first="gone", spare="spool")
        calm = made.finish(_start_lasting(made, base))
        assert _merged(made, disturbed) == _merged(made, calm)
        assert len(made.deaths) == len(damaged), "the run to compare with was disturbed too"
        ended = made.finish(replaced)
        assert gone.exit_code() is not None
        assert ended.run.state == "completed", ended.run.reason
        assert [(task.device, task.state, task.reason) for task in ended.rounds[0].tasks] == [
            ("gone", "cancelled", "the round closed without it: the device is offline"),
            ("spool", "succeeded", ""),
        ]


def _check_mixed(detail: RunDetail) -> None:
    """Every round is of the good boxes; the mislabelled one was asked, and refused with the reason."""
    assert detail.run.state == "completed", detail.run.reason
    assert [found.state for found in detail.rounds] == ["committed"] * 3
    for found in detail.rounds:
        states = {task.device: task.state for task in found.tasks}
        assert states == {"good-1": "succeeded", "good-2": "succeeded", "labels": "rejected"}
        (reason,) = [task.reason for task in found.tasks if task.device == "labels"]
        assert "has a label that model" in reason


def _check_mislabelled(detail: RunDetail) -> None:
    task = _only_task(detail)
    assert (detail.run.state, task.state) == ("failed", "rejected")
    assert "has a label that model 'digits' does not know: its classes are 0 to 9" in task.reason
    assert task.reason in detail.run.reason


def _check_diverging(detail: RunDetail) -> None:
    task = _only_task(detail)
    assert (detail.run.state, task.state) == ("failed", "failed")
    assert "the loss became nan at step" in task.reason
    assert "start the run with a smaller one (--lr 100000)" in task.reason
    assert "3 rounds in a row were abandoned" in detail.run.reason
    assert task.reason.partition(" at step")[0] in detail.run.reason


def _check_waiting(made: Fleet, run: Run) -> None:
    """Nobody was asked; the run says why in short, and each box in full."""
    for box, problem in PROBLEMS.items():
        (why,) = [reason for reason in made.client.devices.show(box).not_training if run.id in reason]
        assert problem in why
    detail = made.client.runs.show(run.id)
    assert (detail.run.state, [found.tasks for found in detail.rounds]) == ("running", [()])
    assert detail.run.reason == (
        "waits for 1 able device; of 6 in the cohort 2 are whose dataset does not fit the model, "
        "3 are with a problem in the dataset, 1 is without a dataset named digits"
    )


def _add_good_and_bad(made: Fleet) -> None:
    for number, box in enumerate(GOOD, 1):
        _add(made, box, {"data": "good", "fleet": "mixed"}, images=IMAGES[: 20 * number])
    unusable = {"data": "unusable", "fleet": "mixed"}
    spoiled = IMAGES.copy()
    spoiled[NAN_AT, 3, 3] = np.nan
    _add(made, "nan", unusable, images=spoiled)
    _add(made, "empty", unusable, images=IMAGES[:0])
    _add(made, "shape", unusable, shape="[64]")
    _add(made, "dtype", unusable, dtype="float64")
    _add(made, "undeclared", unusable, dataset="others")
    _add(made, "missing", unusable, file="elsewhere.npz")
    labels = LABELS.copy()
    labels[MISLABELLED_AT] = 200
    _add(made, "labels", {"data": "mislabelled", "fleet": "mixed"}, labels=labels)
    _add(made, "diverging", {"data": "diverging"}, engine="portable")


def _add(
    made: Fleet,
    box: str,
    labelled: Mapping[str, str],
    *,
    images: np.ndarray = IMAGES,
    labels: np.ndarray = LABELS,
    file: str = "digits.npz",
    dataset: str = "digits",
    shape: str = "[1, 8, 8]",
    dtype: str = "float32",
    engine: str = "constant",
    env: Mapping[str, str] | None = None,
) -> None:
    """Give a box its data, and start its agent."""
    (made.folder / box).mkdir()
    np.savez(made.folder / box / file, image=images, label=labels[: len(images)])
    toml = f"""
[datasets.{dataset}]
format = "npz"
path = "digits.npz"
[datasets.{dataset}.columns.image]
source = "image"
shape = {shape}
dtype = "{dtype}"
[datasets.{dataset}.columns.label]
source = "label"
dtype = "int64"
"""
    made.add(box, toml, labels=labelled, engine=engine, env=env)


def _start_lasting(made: Fleet, base: str) -> Run:
    """Start the run that is compared: the constant engine gives each box's delta a length of its own."""
    return made.client.runs.start(
        model="digits",
        dataset="digits",
        cohort={"lasts": "yes"},
        rounds=2,
        base=base,
        seed=7,
        batch_size=4,
        reproducible=True,
    )


def _start_with_a_spare(made: Fleet, base: str, *, first: str, spare: str) -> Run:
    """Start a run of one device a round, which draws `first` before `spare`."""
    ranks = ((seed, [shuffle_rank(seed, 1, DeviceId(box)) for box in (first, spare)]) for seed in range(99))
    seed = next(seed for seed, (one, other) in ranks if one < other)
    return made.client.runs.start(
        model="digits",
        dataset="digits",
        cohort={"spare": "yes"},
        rounds=1,
        base=base,
        clients_per_round=1,
        over_select=1.0,
        seed=seed,
    )


def _never_to_be_revived(made: Fleet, box: str) -> Agent:
    made.boxes = [other for other in made.boxes if other.id != box]
    return made.agents[box]


def _all_told(made: Fleet) -> bool:
    """Say whether every box has looked its dataset over, and those that found something say what."""
    found = {device.id: device.datasets[0] for device in made.client.devices.list()}
    unreadable = ("missing", "empty", "nan")
    return all(card.examples > 0 for box, card in found.items() if box not in unreadable) and all(
        PROBLEMS[box] in found[box].problem for box in unreadable
    )


def _only_task(detail: RunDetail) -> Task:
    (task,) = detail.rounds[0].tasks
    return task


def _merged(made: Fleet, detail: RunDetail) -> list[tuple[str, list[tuple[str, str]]]]:
    """What each round merged, and of whom: equal digests are equal bits."""
    assert detail.run.state == "completed", detail.run.reason
    return [
        (made.parameters(found.merged) if found.merged else "", [(task.device, task.state) for task in found.tasks])
        for found in detail.rounds
    ]


def _flip_weight(journal: Path) -> None:
    """Make a recorded delta weigh more, by one bit, so that SQLite itself would not notice."""
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    recorded = b'"examples":32'
    data = journal.read_bytes()
    assert data.count(recorded) == 1
    _flip(journal, data.index(recorded) + recorded.index(b"32"))


def _flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(data)
