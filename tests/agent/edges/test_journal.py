"""The agent's memory: what comes back after a restart."""

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from headwater_agent.core.session import Box, Denied, Finished, Sent, Session, Stage
from headwater_agent.edges import records
from headwater_agent.edges.journal import open_journal
from headwater_agent.edges.ledger import Ledger
from headwater_agent.ports import Survey
from headwater_wire.ids import TaskId
from headwater_wire.messages import Column, DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.agent_bundle import DEVICE, task
from tests.fakes.agent_home import until
from tests.fakes.agent_world import BOX
from tests.fakes.full_session import a_full_session

T1 = task("t1")


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


async def test_a_journal_of_before_installs_were_counted_loads(tmp_path: Path) -> None:
    """Nothing is counted; and what an inspection has begun only is nothing that an older release would believe."""
    session = a_full_session()
    rows = records.dump(session)
    for key in [key for key in rows if key.startswith("install/")]:
        tree = json.loads(rows[key])
        assert tree.pop("attempts") == 0
        rows[key] = records.encode(tree)
    assert records.load(rows, BOX) == (session, ())
    begun = Survey("f1", DatasetCard("numbers", 0, problem="lost"), tries=2)
    body = records.dump_survey(begun)
    assert records.load_survey(body) == begun and "card" not in json.loads(body)
    old = json.loads(records.dump_survey(replace(begun, tries=0)))
    del old["tries"]
    assert records.load_survey(records.encode(old)) == replace(begun, tries=0)


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


@pytest.mark.parametrize("tries", [float("inf"), float("nan"), "many", None, []])
def test_a_survey_whose_count_is_no_number_is_none(tries: object) -> None:
    """What is decoded from a disk may be anything: a fuzzer had it infinite."""
    tree = json.loads(records.dump_survey(Survey("f", DatasetCard("numbers", 10))))
    with pytest.raises(ValueError):
        records.load_survey(json.dumps({**tree, "tries": tries}).encode())
