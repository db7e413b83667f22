"""What every implementation of the port `Journal` promises: run on SQLite and on the fake."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from headwater_agent.core import events as on
from headwater_agent.core.machine import step
from headwater_agent.core.session import Box, DatasetFact, Denied, Finished, Sent, ServerTime, Session
from headwater_agent.edges.journal import open_journal
from headwater_agent.ports import Journal, Survey
from headwater_wire.ids import TaskId
from headwater_wire.messages import Column, DatasetCard, Evaluated, Failed, Rejected, TaskReport
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.agent_bundle import DEVICE, task
from tests.fakes.agent_ports import MemoryJournal
from tests.fakes.agent_world import BOX, METRICS, delta_of, deployment

Life = Callable[[], AbstractAsyncContextManager[Journal]]
T = TypeVar("T")

NUMBERS = Survey("f1", DatasetCard("numbers", 10, (Column("x", "float32", (1, 8)), Column("label", "int64", ()))))
BROKEN = Survey("f2", DatasetCard("broken", 0, problem="it is empty"))


def sqlite(folder: Path) -> Life:
    """The real one: each life opens the file again."""
    return lambda: open_journal(folder / "state" / "journal.db")


def memory(folder: Path) -> Life:
    """The fake, which keeps all promises but to survive its process."""
    journal = MemoryJournal()
    return lambda: nullcontext(journal)


@pytest.fixture(params=[sqlite, memory])
def life(request: pytest.FixtureRequest, tmp_path: Path) -> Life:
    """Begin a life of the agent with each implementation."""
    made: Life = request.param(tmp_path)
    return made


def a_full_session() -> Session:
    """Make a session with something of every kind, in the order in which it comes back."""
    session = Session(BOX, time=ServerTime(1_000_000), heartbeat_s=10)
    for event in (
        on.Assigned(1, task("t1")),
        on.Fetched(TaskId("t1")),
        on.Trained(TaskId("t1"), 1, delta_of(TaskId("t1")), METRICS),
        on.Assigned(2, task("t2")),
        on.Assigned(3, replace(task("t0"), labels=(("purpose", "quality"), ("site", "north")))),
        on.DeploymentWanted(4, deployment(1)),
        on.DeploymentWanted(6, deployment(1, "other")),
        on.InstallFailed(deployment(1).model, 1, "other outputs"),
        on.Installed(deployment(1, "other").model, 1),
    ):
        session, _ = step(session, event, at_s=0.0)
    return replace(
        session,
        time=ServerTime(1_000_000),
        finished=(Finished(TaskId("z"), 5), Finished(TaskId("a"), 6)),
        reports=(
            TaskReport(TaskId("a"), Failed("it broke")),
            TaskReport(TaskId("b"), Rejected("no such data")),
            TaskReport(TaskId("c"), Evaluated(METRICS)),
        ),
        denied=(Denied("a:b", "it kills", 99), Denied("b:c", "it kills too", 98)),
    )


FULL = a_full_session()


def some(items: tuple[T, ...]) -> st.SearchStrategy[tuple[T, ...]]:
    """Draw some of these, in their order."""
    return st.sets(st.integers(0, len(items) - 1)).map(lambda chosen: tuple(items[n] for n in sorted(chosen)))


SESSION = st.builds(
    replace,
    st.just(FULL),
    revision=st.integers(0, 2**40),
    seen=st.integers(0, 2**40),
    time=st.integers(0, 2**40).map(ServerTime),
    heartbeat_s=st.integers(1, 3600),
    held=some(FULL.held),
    finished=some(FULL.finished),
    reports=some(FULL.reports),
    installs=some(FULL.installs),
    install_reports=some(FULL.install_reports),
    denied=some(FULL.denied),
    sent=st.builds(Sent, st.integers(0, 2**40), st.integers(0, 2**40)),
)


async def test_a_new_journal_knows_nothing(life: Life) -> None:
    """An empty session of the box that asks, no surveys, no complaints, and the first connection is number 1."""
    async with life() as journal:
        assert await journal.load(BOX) == Session(BOX)
        assert (await journal.surveys(), journal.problems) == ((), ())
        assert await journal.next_epoch() == 1


async def test_a_session_comes_back_but_for_what_the_box_must_look_up_itself(life: Life) -> None:
    """Every record of it, in the next life, on a box that may have other data by then."""
    async with life() as journal:
        await journal.save(Session(BOX, revision=7))
        await journal.save(FULL)
    other = Box(DEVICE, (DatasetFact("else", "f9"),), 5)
    async with life() as journal:
        assert await journal.load(other) == replace(FULL, box=other)
        assert journal.problems == ()


@pytest.mark.parametrize("make", [sqlite, memory])
@given(st.lists(SESSION, min_size=1, max_size=4))
@settings(max_examples=15, suppress_health_check=[HealthCheck.differing_executors])
def test_what_was_saved_last_is_what_is_known(make: Callable[[Path], Life], sessions: list[Session]) -> None:
    """However sessions follow each other: nothing of an earlier one is left, nothing of the last one is missing."""

    async def save() -> None:
        with TemporaryDirectory() as folder:
            life = make(Path(folder))
            async with life() as journal:
                for session in sessions:
                    await journal.save(session)
                    assert await journal.load(BOX) == session
            async with life() as journal:
                assert await journal.load(BOX) == sessions[-1]

    asyncio.run(save())


async def test_no_two_connections_have_the_same_epoch(life: Life) -> None:
    """It is counted up before each connection, over all lives."""
    epochs = []
    for _ in range(2):
        async with life() as journal:
            epochs += [await journal.next_epoch() for _ in range(2)]
    assert epochs == [1, 2, 3, 4]


async def test_counting_goes_on_beyond_what_the_server_knows(life: Life) -> None:
    """A jump back is none."""
    async with life() as journal:
        await journal.jump_epoch(10)
        await journal.jump_epoch(5)
    async with life() as journal:
        assert await journal.next_epoch() == 11
        await journal.jump_epoch(11)
        assert await journal.next_epoch() == 12


async def test_surveys_are_those_saved_last_and_no_others(life: Life) -> None:
    """A dataset that is gone is forgotten, and one that has changed has its new card only."""
    changed = replace(NUMBERS, fingerprint="f3")
    async with life() as journal:
        await journal.save_surveys([NUMBERS, BROKEN])
        assert set(await journal.surveys()) == {NUMBERS, BROKEN}
        await journal.save_surveys((changed,))
    async with life() as journal:
        assert await journal.surveys() == (changed,)
        await journal.save_surveys([])
        assert await journal.surveys() == ()


async def test_an_inspection_that_has_only_begun_comes_back_with_its_tries(life: Life) -> None:
    """They are what tells a file that ends the agent at each start."""
    begun = replace(BROKEN, tries=2)
    async with life() as journal:
        await journal.save_surveys([NUMBERS, begun])
    async with life() as journal:
        assert set(await journal.surveys()) == {NUMBERS, begun}


async def test_sessions_surveys_and_epochs_leave_each_other_alone(life: Life) -> None:
    """Saving the one changes nothing of the others."""
    async with life() as journal:
        await journal.save_surveys([NUMBERS])
        await journal.next_epoch()
        await journal.save(FULL)
        await journal.save(Session(BOX))
        assert (await journal.surveys(), await journal.next_epoch()) == ((NUMBERS,), 2)
        await journal.save(FULL)
        await journal.save_surveys([])
        await journal.next_epoch()
    async with life() as journal:
        assert await journal.load(BOX) == FULL


async def test_a_save_that_nobody_waits_for_any_more_is_whole_or_not_at_all(life: Life) -> None:
    """The agent stops in the middle of it: the next life knows the session before it or the one after, never a mix."""
    before = Session(BOX, revision=1)
    async with life() as journal:
        await journal.save(before)
        saving = asyncio.create_task(journal.save(FULL))
        await asyncio.sleep(0)
        saving.cancel()
        await asyncio.wait([saving])
    async with life() as journal:
        assert await journal.load(BOX) in (before, FULL)
        await journal.save(FULL)
    async with life() as journal:
        assert await journal.load(BOX) == FULL
