"""The box is looked at now and then; who must know hears of a change, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from headwater_agent.core import events as on
from headwater_agent.core.conditions import NAMES, Readings, Wanted
from headwater_agent.watch import SILENT, Watch
from headwater_wire.messages import ConditionState

from tests.fakes.agent_home import until
from tests.fakes.agent_ports import QuietLink

COOL = Readings(celsius=40.0)


@dataclass
class Box:
    """A box whose readings the test sets."""

    readings: Readings = COOL
    locked: str = ""
    looks: int = 0
    told: list[on.Event] = field(default_factory=list)
    link: QuietLink = field(default_factory=QuietLink)

    async def read(self) -> Readings:
        """Look."""
        self.looks += 1
        return self.readings

    async def hear(self, event: on.Event) -> None:
        """Be the machine."""
        self.told.append(event)

    def watch(self, every_s: float = 1000.0) -> Watch:
        """Watch it."""
        return Watch(
            Wanted(max_celsius=80.0, settle_s=0.0), self.read, self.link, self.hear, every_s, lambda: self.locked
        )


@asynccontextmanager
async def running(watch: Watch) -> AsyncIterator[None]:
    """Run it until the context ends."""
    await watch.begin()
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_first_look_is_there_to_be_asked_for() -> None:
    """Before anybody listens."""
    box = Box(Readings(celsius=90.0))
    watch = box.watch()
    await watch.begin()
    assert "it has 90 °C" in watch.standing.waiting and (box.told, box.link.announced) == ([], 0)
    assert [condition.name for condition in watch.conditions()] == list(NAMES)


async def test_a_change_is_told_to_the_machine_and_the_control_plane() -> None:
    """Each once; another figure of what is lost already is no news, nor another minute outside of the hours."""
    box = Box()
    watch = box.watch()

    async def becomes(celsius: float, told: int, announced: int) -> None:
        box.readings = replace(COOL, celsius=celsius)
        looks = box.looks
        watch.again()
        await until(lambda: box.looks > looks and len(box.told) == told, "the news")
        await until(lambda: box.link.announced == announced, "the registration")

    async with running(watch):
        await becomes(90.0, told=1, announced=1)
        await becomes(91.0, told=1, announced=1)
        await becomes(40.0, told=2, announced=2)
        await becomes(41.0, told=2, announced=2)
    lost, met = box.told
    assert isinstance(lost, on.ConditionsChanged) and "90 °C" in lost.waiting and met == on.ConditionsChanged("")


async def test_a_person_s_other_words_are_news() -> None:
    """A pause that is made longer, or gets another reason."""
    box = Box()
    watch = box.watch()
    async with running(watch):
        for number, reason in enumerate(("until 10:00", "until 12:00"), 1):
            box.locked = reason
            watch.again()
            await until(lambda number=number: len(box.told) == number, "the news")  # type: ignore[misc]
    assert [event.waiting for event in box.told if isinstance(event, on.ConditionsChanged)] == [
        "until 10:00",
        "until 12:00",
    ]


async def test_what_became_unknown_is_told_without_a_pause() -> None:
    """It does no harm."""
    box = Box()
    watch = box.watch()
    async with running(watch):
        box.readings = Readings()
        watch.again()
        await until(lambda: box.link.announced == 1, "the registration")
    assert box.told == [] and watch.conditions()[1].state is ConditionState.UNKNOWN


async def test_it_looks_unasked() -> None:
    """In its rhythm."""
    box = Box()
    async with running(box.watch(every_s=0.01)):
        await until(lambda: box.looks >= 3, "some looks")


async def test_a_sensor_that_never_answers_keeps_no_pause_from_a_box(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is trained until it does; nobody else is sent to wait for it, and its answer is not lost."""
    monkeypatch.setattr("headwater_agent.watch.SENSORS_S", 0.01)
    box, go_on = Box(), asyncio.Event()

    async def read() -> Readings:
        found = await box.read()
        if box.looks == 2:
            await go_on.wait()
        return found

    watch = replace(box.watch(), read=read)
    async with running(watch):
        box.readings, box.locked = Readings(celsius=90.0), "a person is at work"
        watch.again()
        await until(lambda: bool(box.told), "the pause")
        assert box.told == [on.ConditionsChanged(f"a person is at work; {SILENT}")] and box.looks == 2
        box.locked = ""
        watch.again()
        await until(lambda: len(box.told) == 2, "the end of the pause")
        assert watch.standing.waiting == SILENT and box.looks == 2
        (silent,) = [each for each in watch.conditions() if each.state is ConditionState.UNMET]
        assert silent.name == "sensors"
        go_on.set()
        watch.again()
        await until(lambda: len(box.told) == 3, "the heat")
    assert box.looks == 2 and "90 °C" in watch.standing.waiting


async def test_a_broker_that_does_not_answer_keeps_nobody_from_looking() -> None:
    """A registration waits for its acknowledgement; the heat does not."""
    box = Box()
    watch = box.watch()
    answered = asyncio.Event()
    box.link.announce = answered.wait  # type: ignore[assignment,method-assign]  # what it gives is not looked at
    async with running(watch):
        for number, celsius in enumerate((90.0, 40.0, 90.0), 1):
            box.readings = replace(COOL, celsius=celsius)
            watch.again()
            await until(lambda number=number: len(box.told) == number, "the news")  # type: ignore[misc]


async def test_a_busy_box_begins_nothing_before_it_is_known_how_busy_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes a second, and another look; without such a limit nobody waits for it."""
    monkeypatch.setattr("headwater_agent.watch.BUSY_S", 0.01)
    box = Box(Readings())

    async def read() -> Readings:
        box.looks += 1
        return Readings(cpu_busy=100.0) if box.looks > 1 else Readings()

    for wanted, looks, waiting in ((Wanted(max_cpu_busy=10.0), 2, "busy otherwise"), (Wanted(), 1, "")):
        box.looks = 0
        watch = replace(box.watch(), wanted=wanted, read=read)
        await watch.begin()
        assert box.looks == looks
        assert waiting in watch.standing.waiting and bool(waiting) is bool(watch.standing.waiting)
