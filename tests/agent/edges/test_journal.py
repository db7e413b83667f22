"""The agent's memory: what comes back after a restart, and what damage does to it."""

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import pytest
from headwater_agent.core import events as on
from headwater_agent.core.machine import step
from headwater_agent.core.session import Box, Denied, Finished, Sent, ServerTime, Session, Stage
from headwater_agent.edges import records
from headwater_agent.edges.journal import open_journal
from headwater_agent.edges.ledger import Ledger, examine
from headwater_agent.ports import Survey
from headwater_wire.ids import TaskId
from headwater_wire.messages import Column, DatasetCard, Evaluated, Failed, Metrics, Rejected, TaskReport
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.agent_bundle import DEVICE, task
from tests.fakes.agent_home import until
from tests.fakes.agent_world import BOX, METRICS, delta_of, deployment

T1 = task("t1")


def a_full_session() -> Session:
    """Make a session with something of every kind."""
    session = Session(BOX, time=ServerTime(1))
    for event in (
        on.Assigned(1, T1),
        on.Fetched(T1.id),
        on.Trained(T1.id, 1, delta_of(T1.id), METRICS),
        on.Assigned(2, task("t2")),
        on.DeploymentWanted(3, deployment(1)),
        on.DeploymentWanted(4, deployment(1, "other")),
        on.InstallFailed(deployment(1).model, 1, "other outputs"),
    ):
        session, _ = step(session, event, at_s=0.0)
    return replace(
        session,
        finished=(Finished(TaskId("t0"), 5),),
        reports=(
            TaskReport(TaskId("a"), Failed("it broke")),
            TaskReport(TaskId("b"), Rejected("no such data")),
            TaskReport(TaskId("c"), Evaluated(Metrics(holdout_examples=3, holdout_loss=0.25))),
        ),
        denied=(Denied("a:b", "it kills", 99),),
    )


async def test_a_full_disk_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What can't be written now is written when there is room again; nothing is lost, and a person is told."""
    session = a_full_session()
    async with open_journal(tmp_path / "j.db", pause_s=0.01) as journal:
        assert isinstance(journal._ledger, Ledger)
        connection = journal._ledger._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")
        saving = asyncio.create_task(journal.save(replace(session, denied=(Denied("a" * 9000, "it kills", 99),))))
        await until(lambda: "the journal can't be written (database or disk is full)" in caplog.text, "the complaint")
        assert not saving.done()
        connection.execute("PRAGMA max_page_count=1000")
        await saving
    async with open_journal(tmp_path / "j.db") as journal:
        assert (await journal.load(BOX)).denied[0].until_ms == 99


async def test_a_session_comes_back_as_it_was(tmp_path: Path) -> None:
    """Whatever was saved last, and nothing of what the box must look up itself."""
    session = a_full_session()
    async with open_journal(tmp_path / "j.db") as journal:
        await journal.save(Session(BOX, revision=7))
        await journal.save(session)
    async with open_journal(tmp_path / "j.db") as journal:
        other = Box(DEVICE, (), 5)
        assert await journal.load(other) == replace(session, box=other)
        assert journal.problems == ()


@given(st.lists(st.sampled_from(["t1", "t2", "t3"]), max_size=6), st.integers(0, 2**40), st.sampled_from(Stage))
def test_records_say_all_of_a_session(names: list[str], revision: int, stage: Stage) -> None:
    """Taking apart and putting together changes nothing, whatever the order of things."""
    session = replace(a_full_session(), revision=revision)
    session = replace(session, held=tuple(replace(held, stage=stage) for held in session.held))
    session = replace(session, finished=tuple(Finished(TaskId(name), n) for n, name in enumerate(dict.fromkeys(names))))
    assert records.load(records.dump(session), BOX) == (session, ())


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("state", "revision", "x"),
        ("state", "seen", float("inf")),
        ("sent", "day", float("inf")),
        ("held", "number", None),
        ("finished", "deadline_ms", []),
        ("finished", "deadline_ms", "soon"),
    ],
)
def test_a_record_with_a_number_that_is_none_is_left_out(kind: str, field: str, value: object) -> None:
    """It is named, and the others go on, also where they are put in order by that number."""
    rows = records.dump(a_full_session())
    key = min(key for key in rows if key.partition("/")[0] == kind)
    broken = records.encode({**json.loads(rows[key]), field: value})
    session, unreadable = records.load({**rows, key: broken, "denied/deep": b"[" * 100_000}, BOX)
    assert set(unreadable) == {key, "denied/deep"}
    assert set(records.dump(session)) >= rows.keys() - {key}


async def test_only_what_changed_is_written(tmp_path: Path) -> None:
    """A heartbeat's worth of change does not rewrite the rest."""
    written: list[str] = []
    session = a_full_session()
    async with open_journal(tmp_path / "j.db") as journal:
        await journal.save(session)
        original = journal._ledger.write
        journal._ledger.write = lambda changes: (written.extend(changes), original(changes))[1]  # type: ignore[method-assign, func-returns-value]
        await journal.save(replace(session, revision=9))
        await journal.save(replace(session, revision=9))
        await journal.save(replace(session, revision=9, held=()))
    assert sorted(written) == ["held/t1", "held/t2", "state"]


async def test_epochs_only_grow(tmp_path: Path) -> None:
    """Across restarts, and past what the server knows."""
    async with open_journal(tmp_path / "j.db") as journal:
        assert [await journal.next_epoch(), await journal.next_epoch()] == [1, 2]
    async with open_journal(tmp_path / "j.db") as journal:
        await journal.jump_epoch(10)
        await journal.jump_epoch(5)
        assert await journal.next_epoch() == 11


async def test_surveys_come_back(tmp_path: Path) -> None:
    """A box whose data has not changed need not look at it again."""
    survey = Survey("f1", DatasetCard("numbers", 10, (Column("x", "float32", (1, 8)),)))
    async with open_journal(tmp_path / "j.db") as journal:
        await journal.save_surveys([survey, Survey("f2", DatasetCard("gone", 0, problem="empty"))])
        await journal.save_surveys([survey])
        await journal.save(a_full_session())
    async with open_journal(tmp_path / "j.db") as journal:
        assert await journal.surveys() == (survey,)


# ── damage ─────────────────────────────────────────────────────────────────────────────────────────────────────


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
    """Down to the empty file, which SQLite takes for a database."""
    data = sound.read_bytes()
    for size in [*range(0, len(data), 509), 1, 100, 511, 512, 4096, len(data) - 1]:
        path = tmp_path / f"cut-{size}.db"
        found, problems = reopen(path, data[:size])
        assert found.items() <= rows.items()
        assert found == rows or problems, f"{size} of {len(data)} bytes"
        assert problems or size == len(data) - 1, "the last byte of a page may have been a zero"


def test_a_damaged_record_is_named_and_the_others_go_on(sound: Path, rows: dict[str, bytes]) -> None:
    """The file as it was found is kept for whoever wants to look at it."""
    with sqlite3.connect(sound) as connection:
        connection.execute("UPDATE entry SET body = replace(body, 't1', 't9') WHERE key = 'held/t1'")
    connection.close()
    with Ledger(sound) as ledger:
        assert ledger.rows == {key: body for key, body in rows.items() if key != "held/t1"}
        assert "held/t1" in ledger.problems[0] and "corrupt-1" in ledger.problems[-1]
    assert sound.with_name("sound.db.corrupt-1").exists()
    with Ledger(sound) as ledger:
        assert ledger.problems == () and "held/t1" not in ledger.rows


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


async def test_a_record_of_another_release_is_left_out(tmp_path: Path) -> None:
    """Its CRC is right, its content means nothing to us: told, and healed by Sync."""
    with Ledger(tmp_path / "j.db") as ledger:
        ledger.write({"held/t1": b'{"a": 1}', "state": b"[]", "epoch": b"3"})
    async with open_journal(tmp_path / "j.db") as journal:
        session = await journal.load(BOX)
        assert session == Session(BOX)
        assert len(journal.problems) == 2
        assert await journal.next_epoch() == 4


def test_a_write_is_all_or_nothing(tmp_path: Path) -> None:
    """What failed half-way is not remembered either."""
    with Ledger(tmp_path / "j.db") as ledger:
        ledger.write({"a": b"1"})
        ledger._connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON entry WHEN NEW.key = 'c' BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        with pytest.raises(sqlite3.Error):
            ledger.write({"b": b"2", "c": b"3"})
        assert ledger.rows == {"a": b"1"}
    with Ledger(tmp_path / "j.db") as ledger:
        assert (ledger.rows, ledger.problems) == ({"a": b"1"}, ())


async def test_a_journal_of_before_the_owner_s_policy_loads(tmp_path: Path) -> None:
    """Tasks without labels, and nothing counted."""
    session = a_full_session()
    assert session.sent.size and all(held.task.labels == () for held in session.held)
    rows = records.dump(session)
    del rows["sent"]
    for key in [key for key in rows if key.startswith("held/")]:
        tree = json.loads(rows[key])
        del tree["task"]["labels"]
        rows[key] = records.encode(tree)
    assert records.load(rows, BOX) == (replace(session, sent=Sent()), ())
