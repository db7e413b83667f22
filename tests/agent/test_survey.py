"""Looking datasets over: only what has changed, and nothing that keeps ending the agent."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from headwater_agent.core.events import Event
from headwater_agent.survey import NOT_YET, Surveyor
from headwater_agent.training.protocol import DatasetConfig, Inspected
from headwater_wire.messages import DatasetCard

from tests.fakes.agent_home import until
from tests.fakes.agent_ports import MemoryJournal, QuietLink, ScriptedWorker

FINE = Inspected(DatasetCard("numbers", 10))


@dataclass
class Data:
    """A box with one dataset, over several lives of its agent."""

    journal: MemoryJournal = field(default_factory=MemoryJournal)
    worker: ScriptedWorker = field(default_factory=ScriptedWorker)
    fingerprint: str = "f1"
    heard: list[Event] = field(default_factory=list)

    async def surveyor(self) -> Surveyor:
        """Begin a life."""

        async def deliver(event: Event) -> None:
            self.heard.append(event)

        config = DatasetConfig("numbers", "npz", "numbers.npz", ())
        surveyor = Surveyor((config,), lambda _: self.fingerprint, self.journal, self.worker, QuietLink(), deliver)
        await surveyor.recall()
        return surveyor

    async def die(self) -> Surveyor:
        """Live until the inspection has begun, and no longer: nothing is told to the journal after that."""
        surveyor, looked = await self.surveyor(), len(self.worker.jobs)
        self.worker.replies = [None]
        then = None
        async with running(surveyor):
            await until(lambda: len(self.worker.jobs) > looked, "the inspection")
            then = self.journal.known
        self.journal.known = then
        return surveyor

    @property
    def tries(self) -> list[int]:
        """Tell what the journal counts."""
        return [survey.tries for survey in self.journal.known]


@asynccontextmanager
async def running(surveyor: Surveyor) -> AsyncIterator[None]:
    """Let it look, and stop it in good order."""
    task = asyncio.create_task(surveyor.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def data() -> Data:
    """A box whose agent has not lived yet."""
    return Data()


async def test_a_dataset_that_keeps_ending_the_agent_is_given_up(data: Data) -> None:
    """After three lives, counted on disk before each try: then it is declared with that problem, and left alone."""
    for life in (1, 2, 3):
        surveyor = await data.die()
        assert (data.tries, surveyor.cards()[0].problem) == ([life], NOT_YET)
    surveyor = await data.surveyor()
    async with running(surveyor):
        assert "the agent died 3 times" in surveyor.cards()[0].problem == surveyor.facts()[0].problem
        surveyor.again()
        await asyncio.sleep(0)
    assert len(data.worker.jobs) == 3


@pytest.mark.parametrize("what", ["other data", "a reload"])
async def test_what_was_given_up_is_tried_again(data: Data, what: str) -> None:
    """Once the data have changed, or when its owner asks; the count begins anew."""
    for _ in range(3):
        await data.die()
    if what == "other data":
        data.fingerprint = "f2"
    surveyor = await data.surveyor()
    data.worker.replies = [FINE]
    async with running(surveyor):
        surveyor.anew()
        await until(lambda: surveyor.facts()[0].examples == 10, "the count")
    assert data.tries == [0]


async def test_other_data_count_anew(data: Data) -> None:
    """Two lives that one file has cost are not held against the next one."""
    await data.die()
    await data.die()
    data.fingerprint = "f2"
    await data.die()
    assert data.tries == [1]


async def test_a_mount_whose_server_is_gone_keeps_nobody_waiting(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset on it has a problem, which ends when it answers again; one call waits for that, and no more."""
    monkeypatch.setattr("headwater_agent.survey.LOOK_S", 0.3)
    back = threading.Event()
    looks: list[str] = []

    def fingerprint(config: DatasetConfig) -> str:
        looks.append(config.name)
        if config.name == "gone":
            back.wait()
        return f"{config.name} 1"

    data.worker.replies = [FINE]
    surveyor = await data.surveyor()
    surveyor.datasets = (DatasetConfig("gone", "npz", "/gone/a.npz", ()), *surveyor.datasets)
    surveyor.fingerprint = fingerprint
    async with running(surveyor):
        await until(lambda: surveyor.examples("numbers") == 10, "the other one")
        assert "storage does not answer" in surveyor.cards()[0].problem
        surveyor.again()
        await until(lambda: looks.count("numbers") == 2, "another look")
        assert looks.count("gone") == 1 and len(data.worker.jobs) == 1
        data.worker.replies = [Inspected(DatasetCard("gone", 7))]
        back.set()
        monkeypatch.undo()
        surveyor.again()
        await until(lambda: surveyor.examples("gone") == 7, "it is back")


async def test_a_stop_in_good_order_is_no_try(data: Data) -> None:
    """However often a box is switched off while its large file is read."""
    for _ in range(5):
        surveyor, looked = await data.surveyor(), len(data.worker.jobs)
        data.worker.replies = [None]
        async with running(surveyor):
            await until(lambda looked=looked: len(data.worker.jobs) > looked, "the inspection")  # type: ignore[misc]
            assert data.tries == [1]
        assert data.tries == []
