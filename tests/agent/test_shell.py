"""The loop around the machine: remembered first, then done; stopped, coalesced and woken as it should be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.session import DAY_MS, Held, Quota, ServerTime, Session, Stage
from headwater_agent.shell import Shell
from headwater_wire.ids import TaskId
from headwater_wire.messages import SyncAnswer, SyncRequest

from tests.fakes.agent_bundle import DEVICE, task
from tests.fakes.agent_home import until
from tests.fakes.agent_ports import MemoryJournal
from tests.fakes.agent_world import BOX, METRICS, delta_of, deployment, succeed

Answer = Callable[[do.Command], Awaitable[on.Event | None]]
T1 = task("t1")
SYNCED = Session(BOX, time=ServerTime(1))
NOTHING = on.Synced(SyncRequest(DEVICE, 1, 0), SyncAnswer(0, 0, 1, False, (), (), 30))


@dataclass
class Recorder:
    """Effects that note what they are asked, together with what the journal held at that moment."""

    journal: MemoryJournal
    asked: list[do.Command] = field(default_factory=list)
    saved: list[Session | None] = field(default_factory=list)
    cancelled: list[do.Command] = field(default_factory=list)
    nudges: int = 0
    uploading: frozenset[TaskId] = frozenset()
    answer: Callable[[do.Command], Awaitable[on.Event | None]] | None = None

    async def perform(self, command: do.Command) -> on.Event | None:
        """Note it; do as the test wants, or wait for ever."""
        self.asked.append(command)
        self.saved.append(self.journal.saves[-1] if self.journal.saves else None)
        if isinstance(command, do.StopTraining | do.AbandonInstall | do.Discard | do.Drop):
            return None
        try:
            return await self.answer(command) if self.answer else await asyncio.Event().wait() and None
        except asyncio.CancelledError:
            self.cancelled.append(command)
            raise

    def nudge(self) -> None:
        """Count."""
        self.nudges += 1


@asynccontextmanager
async def running(session: Session = SYNCED) -> AsyncIterator[tuple[Shell, Recorder]]:
    """Run a shell until the context ends."""
    journal = MemoryJournal()
    shell, recorder = Shell(session, journal), Recorder(journal)
    loop = asyncio.create_task(shell.run(recorder))  # type: ignore[arg-type]
    try:
        yield shell, recorder
    finally:
        loop.cancel()
        await asyncio.wait([loop])
        assert loop.cancelled()


def up_to(last: type) -> Callable[[do.Command], Awaitable[on.Event | None]]:
    """Do everything well, but never end a command of type `last`."""

    async def answer(command: do.Command) -> on.Event | None:
        return await asyncio.Event().wait() and None if isinstance(command, last) else succeed(command)

    return answer


async def test_nothing_is_done_before_it_is_remembered() -> None:
    """When a command is performed, the journal already holds the session that asked for it."""
    async with running() as (shell, recorder):
        recorder.answer = up_to(do.Upload)
        await shell.deliver(on.Assigned(1, T1))
        await until(lambda: any(isinstance(c, do.Upload) for c in recorder.asked), "the upload")
    stages = {
        type(command): saved.held[0].stage
        for command, saved in zip(recorder.asked, recorder.saved, strict=True)
        if saved and saved.held
    }
    assert stages == {do.Fetch: Stage.FETCHING, do.Train: Stage.TRAINING, do.Upload: Stage.SPOOLED}


async def test_what_a_restart_cut_short_is_remembered_before_it_is_done_again() -> None:
    """The attempt counter included."""
    async with running() as (shell, _):
        await shell.deliver(on.Assigned(1, T1))
        await shell.deliver(on.Fetched(T1.id))
        await until(lambda: shell.session.held and shell.session.held[0].attempts == 1, "the training")
        trained = shell.session
    async with running(trained) as (shell, recorder):
        await until(lambda: recorder.asked, "the fetch")
        assert recorder.asked == [do.Fetch(T1)] and recorder.saved[0] == shell.session


async def test_syncs_in_a_row_are_one_more() -> None:
    """However often it is rung, one Sync is under way, and one follows it."""
    async with running() as (shell, recorder):
        gate = asyncio.Event()

        async def answer(command: do.Command) -> on.Event:
            await gate.wait()
            return NOTHING

        recorder.answer = answer
        for _ in range(50):
            await shell.deliver(on.Rung())
        await until(lambda: shell.inbox.empty(), "the rings to be heard")
        assert recorder.asked == [do.Sync()]
        gate.set()
        await until(lambda: len(recorder.asked) == 2 and recorder.nudges > 51, "the one that follows")
        await shell.deliver(on.Rung())
        await until(lambda: len(recorder.asked) == 3, "a later one")


async def test_a_stopped_training_is_cancelled_before_its_leftovers_are_deleted() -> None:
    """And the next task begins."""
    async with running() as (shell, recorder):
        await shell.deliver(on.Assigned(1, T1))
        await shell.deliver(on.Assigned(2, task("t2")))
        await until(lambda: recorder.asked == [do.Fetch(T1)], "the fetch")
        await shell.deliver(on.Withdrawn(3, T1.id))
        await until(lambda: do.StopTraining(T1.id) in recorder.asked, "the stop")
        assert recorder.cancelled == [do.Fetch(T1)]
        await until(lambda: do.Fetch(task("t2")) in recorder.asked, "the next fetch")


async def test_an_abandoned_install_is_cancelled() -> None:
    """The newer one goes on."""
    async with running() as (shell, recorder):
        await shell.deliver(on.DeploymentWanted(1, deployment(1)))
        await until(lambda: recorder.asked == [do.FetchVersion(deployment(1))], "the install")
        await shell.deliver(on.DeploymentWanted(2, deployment(2)))
        await until(lambda: do.FetchVersion(deployment(2)) in recorder.asked, "the newer one")
        await until(lambda: recorder.cancelled == [do.FetchVersion(deployment(1))], "the end of the older one")


async def test_a_dropped_delta_is_offered_no_longer() -> None:
    """The upload that waits for the control plane is ended, then its file deleted; the day tells the count."""
    held = Held(T1, 1, Stage.SPOOLED, 1, delta_of(T1.id), METRICS, spooled_ms=1)
    session = replace(SYNCED, held=(held,), box=replace(BOX, quota=Quota(max_days=1)), time=ServerTime(2 * DAY_MS))
    async with running(replace(session, box=BOX)) as (shell, recorder):
        await until(lambda: any(isinstance(c, do.Upload) for c in recorder.asked), "the offer")
        recorder.uploading = frozenset({T1.id})
        shell.session = replace(shell.session, box=session.box)
        await shell.deliver(on.TimePassed(0.5))
        await shell.deliver(on.TimePassed(0.5))
        await until(shell.inbox.empty, "nothing follows while it is being sent")
        assert shell.session.held
        recorder.uploading = frozenset()
        await shell.deliver(on.TimePassed(0.5))
        await until(lambda: do.Drop(T1.id) in recorder.asked, "its end")
        assert [type(command) for command in recorder.cancelled] == [do.Upload]
        assert shell.session.dropped.deltas == 1


async def test_a_deadline_wakes_the_machine() -> None:
    """Nobody need say anything."""
    now_s = asyncio.get_running_loop().time()
    session = replace(Session(BOX), time=ServerTime(T1.deadline_ms - 50, now_s))
    async with running(session) as (shell, recorder):
        await shell.deliver(on.Assigned(1, T1))
        await until(lambda: do.StopTraining(T1.id) in recorder.asked, "the end of it", within_s=5)
        assert not shell.session.held and shell.session.reports


async def test_a_stop_in_good_order_is_remembered() -> None:
    """No attempt was failed by it."""
    async with running() as (shell, recorder):
        recorder.answer = up_to(do.Train)
        await shell.deliver(on.Assigned(1, T1))
        await until(lambda: any(isinstance(c, do.Train) for c in recorder.asked), "the training")
    assert (recorder.journal.saves[-1].held[0].stage, recorder.journal.saves[-1].held[0].tries) == (
        Stage.ACCEPTED,
        0,
    )


async def test_a_bug_ends_the_agent() -> None:
    """systemd starts it again; the journal knows where it was."""
    journal = MemoryJournal()
    recorder = Recorder(journal)

    async def answer(command: do.Command) -> on.Event:
        raise LookupError("a bug")

    recorder.answer = answer
    shell = Shell(SYNCED, journal)
    await shell.deliver(on.Assigned(1, T1))
    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(5):
            await shell.run(recorder)  # type: ignore[arg-type]


async def test_a_bug_that_a_training_meets_is_a_try() -> None:
    """No stop in good order: else it would end the agent for ever, and be counted never."""
    session = SYNCED
    for tries in (1, 2, 3):
        recorder = Recorder(MemoryJournal())
        well = up_to(do.Upload)

        async def answer(command: do.Command, well: Answer = well) -> on.Event | None:
            if isinstance(command, do.Train):
                raise LookupError("a bug")
            return await well(command)

        recorder.answer = answer
        shell = Shell(session, recorder.journal)
        if tries == 1:
            await shell.deliver(on.Assigned(1, T1))
        with pytest.raises(ExceptionGroup):
            async with asyncio.timeout(5):
                await shell.run(recorder)  # type: ignore[arg-type]
        session = recorder.journal.saves[-1]
        assert (session.held[0].stage, session.held[0].tries) == (Stage.TRAINING, tries)
    async with running(session) as (shell, _):
        await until(lambda: shell.session.denied, "the end of it")
