"""[conditions] and what [training] spares the box, as the configuration spells them."""

from pathlib import Path

import pytest
from headwater_agent.circumstances import Circumstances, described
from headwater_agent.config import load
from headwater_agent.core.conditions import Wanted
from headwater_agent.core.hours import parse
from headwater_agent.settings import BadSetting
from headwater_agent.thrift import Thrift
from headwater_agent.training.protocol import Checkpoints
from headwater_wire.messages import Plan

FULL = """\
[agent]
id = "gate-7"

[training]
max_threads = 2
checkpoint_every_s = 0
checkpoint_every_steps = 100
io_priority = "low"

[conditions]
mains = true
min_battery = 50
max_celsius = 70
max_memory_pressure = 10
max_cpu_pressure = 20
max_cpu_busy = 30
max_gpu_busy = 40
min_free_mb = 1000
avoid_metered = true
network = "metered"
hours = ["Mon-Fri 22:00-06:00", "Sat,Sun 00:00-24:00"]
timezone = "Europe/Berlin"
require = ["power", "temperature"]
settle_s = 5
every_s = 2
min_new_examples = 100
upload_mb_a_day = 20
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration in which everything is said."""
    path = tmp_path / "agent.toml"
    path.write_text(FULL)
    return path


def test_everything_said_is_taken(file: Path) -> None:
    """And the disk that is to stay free is spared by checkpoints too."""
    how = load(file, {}).conditions
    hours = parse(("Mon-Fri 22:00-06:00", "Sat,Sun 00:00-24:00"))
    assert how.wanted == Wanted(
        True, 50.0, 70.0, 10.0, 20.0, 30.0, 40.0, 1000.0, True, hours, ("power", "temperature"), 5.0
    )
    assert (how.metered, str(how.zone), how.every_s, how.min_new_examples) == (True, "Europe/Berlin", 2.0, 100)
    assert how.upload_mb_a_day == 20.0
    training = load(file, {}).training
    assert training.thrift == Thrift(2, 0.0, 100, 1_000_000_000) and training.io_priority == "low"


def test_nothing_need_be_said(file: Path) -> None:
    """The defaults are those of the records; each can be set by a variable."""
    file.write_text('[agent]\nid = "gate-7"\n')
    assert load(file, {}).conditions == Circumstances()
    told = load(file, {"HEADWATER_CONDITIONS__HOURS": '["22:00-06:00"]', "HEADWATER_CONDITIONS__REQUIRE": "all"})
    assert told.conditions.wanted.hours == parse(("22:00-06:00",)) and told.conditions.wanted.require is None


def test_the_example_says_the_defaults(file: Path) -> None:
    """Each of its settings."""
    example = (Path(__file__).parents[2] / "deploy" / "agent.example.toml").read_text()
    example = '[agent]\nid = "gate-7"\n' + example[example.index("[training]") : example.index("[policy]")]
    file.write_text('[agent]\nid = "gate-7"\n')
    plain = load(file, {})
    file.write_text(example)
    assert (load(file, {}).conditions, load(file, {}).training) == (plain.conditions, plain.training)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"Sat,Sun 00:00-24:00"', '"Sat,Sun"', 21, "'Sat,Sun' is no window such as"),
        ('"Europe/Berlin"', '"Europe/Bearlin"', 22, "'Europe/Bearlin' is no time zone known here"),
        ('"temperature"]', '"heat"]', 23, "there is no condition 'heat'; there are power, temperature"),
        ("max_cpu_busy = 30", "max_cpu_busy = 101", 16, "must be a number from 0 to 100"),
        ('"metered"', '"lte"', 20, "choose one of auto, metered, unmetered"),
        ('"low"', '"high"', 8, "choose one of idle, low, normal"),
    ],
)
def test_a_mistake_is_named_with_its_line(file: Path, old: str, new: str, line: int, words: str) -> None:
    """And what may stand there."""
    file.write_text(FULL.replace(old, new, 1))
    with pytest.raises(BadSetting, match=rf"agent\.toml:{line}: .*{words}"):
        load(file, {})


def test_what_is_asked_for_is_told_in_words(file: Path) -> None:
    """One line; of the defaults none."""
    (line,) = described(load(file, {}).conditions)
    assert line.startswith("conditions: trains on mains power only; in its hours only: Mon-Fri 22:00-06:00, Sat,Sun")
    assert list(described(Circumstances())) == []


@pytest.mark.parametrize(("most", "asked", "given"), [(0, 0, 0), (0, 8, 8), (2, 0, 2), (2, 1, 1), (2, 8, 2)])
def test_a_training_gets_no_more_threads_than_the_box_spares(most: int, asked: int, given: int) -> None:
    """Whatever its plan says."""
    assert Thrift(max_threads=most).of(Plan(threads=asked)).threads == given


def test_checkpoints_can_be_done_without(tmp_path: Path) -> None:
    """By neither time nor steps there are none."""
    assert Thrift().checkpoints(tmp_path) == Checkpoints(str(tmp_path), 60.0, 0, 0)
    assert Thrift(checkpoint_every_s=0).checkpoints(tmp_path) is None
    assert Thrift(checkpoint_every_s=0, checkpoint_every_steps=9).checkpoints(tmp_path) is not None
