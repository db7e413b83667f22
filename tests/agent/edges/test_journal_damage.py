"""What damage does to the agent's memory, and a death while that is mended: what survives goes on, the rest is told."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from shutil import copyfile

import pytest
from headwater_agent.edges import records
from headwater_agent.edges.ledger import Ledger, examine, inspect
from headwater_wire import durable
from headwater_wire.crashpoint import VARIABLE

from tests.fakes.agent_bundle import task
from tests.fakes.full_session import a_full_session
from tests.simulation.disk import Disk, Disks

T1 = task("t1")


@pytest.fixture
def rows() -> dict[str, bytes]:
    """What a ledger holds in these tests."""
    return records.dump(a_full_session())


@pytest.fixture
def sound(tmp_path: Path, rows: dict[str, bytes]) -> Path:
    """A closed ledger's file."""
    path = tmp_path / "sound.db"
    with Ledger(path) as ledger:
        ledger.write(rows)
    assert not path.with_name("sound.db-wal").exists(), "SQLite merged its log when it was closed"
    return path


def reopen(path: Path, data: bytes) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Open a ledger made of these bytes."""
    path.write_bytes(data)
    with Ledger(path) as ledger:
        return ledger.rows, ledger.problems


def test_every_flipped_bit_is_found_or_harmless(sound: Path, tmp_path: Path, rows: dict[str, bytes]) -> None:
    """No flip gives a record that was never written; one that loses something is told, and the rest goes on."""
    data = sound.read_bytes()
    path = tmp_path / "flipped.db"
    told = 0
    places = [place for place in range(len(data)) if data[place] or place % 97 == 0][::4]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place // 4 % 8)
        path.write_bytes(flipped)
        found, problems = examine(path)
        assert found.items() <= rows.items(), f"byte {place}"
        assert found == rows or problems, f"byte {place}: something is missing, and nobody was told"
        told += bool(problems)
    assert told > len(places) // 2, "most bytes here carry something"


def test_every_truncation_is_found(sound: Path, tmp_path: Path, rows: dict[str, bytes]) -> None:
    """At each byte, down to the empty file, which SQLite takes for a database; by the doctor and by the agent."""
    data = sound.read_bytes()
    path = tmp_path / "cut.db"
    path.write_bytes(data)
    for size in reversed(range(len(data))):
        os.truncate(path, size)
        readings = [inspect(path)]
        if size % 61 == 0 or size < 20:  # which opens it for writing: that takes four times as long
            readings.append(examine(path))
            os.truncate(path, size)
        for found, problems in readings:
            assert found.items() <= rows.items()
            assert found == rows or problems, f"{size} of {len(data)} bytes"
            assert problems or not any(data[size:]), "a page that ends too early ends in zeros"


def test_a_damaged_record_is_named_and_the_others_go_on(sound: Path, rows: dict[str, bytes]) -> None:
    """The file as it was found is kept for whoever wants to look at it."""
    with sqlite3.connect(sound) as connection:
        connection.execute("UPDATE entry SET body = replace(body, 't1', 't9') WHERE key = 'held/t1'")
    connection.close()
    with Ledger(sound) as ledger:
        assert ledger.rows == {key: body for key, body in rows.items() if key != "held/t1"}
        assert "held/t1" in ledger.problems[0] and "corrupt-1" in ledger.problems[-1]
        told = ledger.problems
    assert sound.with_name("sound.db.corrupt-1").exists()
    with Ledger(sound) as ledger:
        assert ledger.problems == told, "an agent that died at once may have told nobody"
        ledger.write({"new": b"1"})
    with Ledger(sound) as ledger:
        assert ledger.problems == () and "held/t1" not in ledger.rows and ledger.rows["new"] == b"1"


OPEN = (
    "import sys, pathlib; from headwater_agent.edges.ledger import Ledger; ledger = Ledger(pathlib.Path(sys.argv[1]))"
)


def damage(path: Path) -> None:
    """Flip bits of the record of task t1."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entry SET body = replace(body, 't1', 't9') WHERE key = 'held/t1'")
    connection.close()


def killed(path: Path, step: str) -> None:
    """Open a ledger in a process of its own, which is killed at a step."""
    command = [sys.executable, "-c", OPEN, str(path)]
    ended = subprocess.run(command, env={**os.environ, VARIABLE: f"agent.journal.{step}"}, check=False)
    assert ended.returncode == -signal.SIGKILL, step


@pytest.mark.parametrize(
    ("step", "again"),
    [
        ("begun", "begun"),
        ("built", "ready"),
        ("ready", "dropped"),
        ("aside", "aside"),
        ("dropped", "replaced"),
        ("replaced", None),
    ],
)
def test_a_kill_while_a_damaged_file_is_replaced_loses_nothing_more(
    sound: Path, rows: dict[str, bytes], step: str, again: str | None
) -> None:
    """The next life has what survived, and is told what did not: else it would sweep the deltas of lost records."""
    damage(sound)
    killed(sound, step)
    if again is not None:
        killed(sound, again)
    with Ledger(sound) as ledger:
        assert ledger.rows == {key: body for key, body in rows.items() if key != "held/t1"}
        assert "held/t1" in ledger.problems[0] and "corrupt-1" in ledger.problems[-1]
    assert sorted(path.name for path in sound.parent.iterdir()) == ["sound.db", "sound.db.corrupt-1"]
    with closing(sqlite3.connect(sound.with_name("sound.db.corrupt-1"))) as connection:
        assert b"t9" in connection.execute("SELECT body FROM entry WHERE key = 'held/t1'").fetchone()[0].encode()


@pytest.mark.parametrize("step", ["begun", "built", "ready"])
def test_a_kill_at_the_first_start_alarms_nobody(tmp_path: Path, step: str) -> None:
    """A journal is there whole, or not yet."""
    path = tmp_path / "j.db"
    killed(path, step)
    with Ledger(path) as ledger:
        assert (ledger.rows, ledger.problems) == ({}, ())
    assert [found.name for found in tmp_path.iterdir()] == ["j.db"]


def test_a_kill_once_a_damaged_file_s_log_is_gone_brings_no_older_state_back(
    sound: Path, rows: dict[str, bytes]
) -> None:
    """While somebody reads it, as the doctor may, all since the last checkpoint stands in the log alone."""
    with closing(sqlite3.connect(sound, isolation_level=None)) as reader:
        reader.execute("PRAGMA wal_autocheckpoint=0")
        reader.execute("UPDATE entry SET body = replace(body, 't1', 't9') WHERE key = 'held/t1'")
        killed(sound, "dropped")
        show = "; import json; print(json.dumps([sorted(ledger.rows), ledger.problems]))"
        found, problems = json.loads(subprocess.check_output([sys.executable, "-c", OPEN + show, str(sound)]))
    assert (found, bool(problems)) == (sorted(rows.keys() - {"held/t1"}), True)


def test_a_dead_journal_s_log_is_not_taken_for_a_new_one_s(sound: Path, rows: dict[str, bytes]) -> None:
    """SQLite asks whether a log is whole, not whose it is."""
    ledger = Ledger(sound)
    ledger.write({"held/t1": b"{}"})
    log = sound.with_name("sound.db-wal").read_bytes()
    ledger.__exit__()
    sound.unlink()
    sound.with_name("sound.db-wal").write_bytes(log)
    with Ledger(sound) as fresh:
        assert (fresh.rows, fresh.problems) == ({}, ())
    with Ledger(sound) as fresh:
        assert (fresh.rows, fresh.problems) == ({}, ())


def test_a_disk_without_links_keeps_a_copy(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a memory card's may be."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    damage(sound)
    before = sound.read_bytes()
    with Ledger(sound) as ledger:
        assert "held/t1" not in ledger.rows and ledger.problems
    assert sound.with_name("sound.db.corrupt-1").read_bytes() == before


@pytest.mark.parametrize("draw", [f"draw {number}" for number in range(4)])
def test_a_power_loss_while_a_damaged_file_is_replaced_loses_nothing_more(
    tmp_path: Path, sound: Path, rows: dict[str, bytes], draw: str
) -> None:
    """Before and after every fsync, whatever of the rest was written."""
    damage(sound)
    disks = Disks(tmp_path / "disks")
    with disks.heard():
        for dying in range(40):
            disk = disks.new("box")
            durable.write(disk.files / "j.db", sound.read_bytes())
            survived = die_at(disk, dying)
            found = disks.after_power_loss(disk, draw).files / "j.db"
            with Ledger(found) as ledger:
                assert ledger.rows == {key: body for key, body in rows.items() if key != "held/t1"}, dying
                assert "held/t1" in ledger.problems[0], dying
            if survived:
                return
    raise AssertionError("there are fewer fsyncs than that")


def die_at(disk: Disk, fsync: int) -> bool:
    """Open a ledger, and die before or after an fsync by its number; say whether there was none of that number."""
    asked = iter(range(1000))

    def pass_by(path: Path) -> None:
        if next(asked) == fsync:
            raise OSError(5, "the power is gone")

    disk.before_fsync = disk.after_fsync = pass_by
    try:
        Ledger(disk.files / "j.db").__exit__()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM entry WHERE key = 'held/t1'", "DELETE FROM entry WHERE key = 'seal'", "DELETE FROM entry"],
)
def test_a_record_that_vanished_is_noticed(sound: Path, statement: str) -> None:
    """A flipped bit in a tree page can hide rows whose own CRC is fine: the seal counts them."""
    with sqlite3.connect(sound) as connection:
        connection.execute(statement)
    connection.close()
    with Ledger(sound) as ledger:
        assert "missing" in ledger.problems[0]


def test_a_hopeless_file_is_set_aside(tmp_path: Path) -> None:
    """The agent begins afresh; copies are kept, up to nine of them."""
    path = tmp_path / "j.db"
    for _ in range(11):
        found, problems = reopen(path, b"not a database at all" * 100)
        assert found == {} and "can't be read" in problems[0]
    assert len(list(tmp_path.glob("j.db.corrupt-*"))) == 9


def test_a_damaged_log_gives_an_earlier_state_or_is_told(tmp_path: Path, rows: dict[str, bytes]) -> None:
    """Between checkpoints the newest records stand in SQLite's write-ahead log, which has sums of its own."""
    path, wal = tmp_path / "j.db", tmp_path / "j.db-wal"
    ledger = Ledger(path)
    states = [dict(ledger.rows)]
    for key, body in rows.items():
        ledger.write({key: body})
        states.append(dict(ledger.rows))
    copyfile(path, tmp_path / "main")
    data = wal.read_bytes()
    ledger.__exit__()
    for place in range(0, len(data), 4001):
        copyfile(tmp_path / "main", path)
        flipped = bytearray(data)
        flipped[place] ^= 4
        wal.write_bytes(flipped)
        with Ledger(path) as damaged:
            assert damaged.rows in states or damaged.problems
        for left in tmp_path.glob("j.db*"):
            left.unlink()
