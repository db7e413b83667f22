"""A run may have millions of tasks: it is shown page by page, and no answer grows with it."""

import asyncio
import json
from contextlib import aclosing

import pytest
from headwater_control.core.runs import RunSpec
from headwater_control.gates.http.events import follow
from headwater_control.service import runs
from headwater_control.service.world import World

from tests.control_plane.service.driver import step
from tests.fakes.world import DIGITS, MODEL, Box

TASKS, ROUNDS = 3, 5  # of a round; of the run, with the one that only scores


async def _boxes(world: World) -> list[Box]:
    boxes = [Box(world, f"box-{number}", datasets=(DIGITS,)) for number in range(TASKS)]
    for box in boxes:
        await box.register()
    return boxes


async def _ran(world: World) -> runs.RunView:
    """Carry a run through."""
    boxes = await _boxes(world)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=ROUNDS - 1))
    for _ in range(ROUNDS):
        await step(world, run.id)
        for box in boxes:
            await box.work()
    await step(world, run.id)
    return await runs.show_run(world, run.id)


@pytest.mark.parametrize(("room", "rounds_a_page"), [(1, 1), (7, 1), (8, 2), (11, 2), (1000, ROUNDS)])
async def test_pages_have_so_many_rounds_and_tasks_and_together_all(
    world: World, monkeypatch: pytest.MonkeyPatch, room: int, rounds_a_page: int
) -> None:
    """The newest come first, in their order; a round that is larger than a page has one for itself."""
    whole = await _ran(world)
    monkeypatch.setattr(runs, "PAGE", room)
    pages, before = [], None
    while (page := await runs.show_run(world, whole.run.id, before=before)).rounds:
        assert page.run == whole.run
        pages.append(page.rounds)
        before = page.rounds[0].round.number
    assert [entry for page in reversed(pages) for entry in page] == list(whole.rounds)
    assert {len(page) for page in pages[:-1]} <= {rounds_a_page}
    assert len(pages) == -(-ROUNDS // rounds_a_page)


async def test_fewer_rounds_can_be_asked_for(world: World) -> None:
    """The last of all, or the last before one; before the first there is none."""
    run = (await _ran(world)).run.id

    async def numbers(last: int, before: int | None = None) -> list[int]:
        return [entry.round.number for entry in (await runs.show_run(world, run, last=last, before=before)).rounds]

    assert await numbers(2) == [4, 5]
    assert await numbers(2, before=4) == [2, 3]
    assert await numbers(9, before=3) == [1, 2]
    assert await numbers(9, before=1) == []
    assert await numbers(1, before=1000) == [5]


@pytest.mark.parametrize("room", [1, 5, 1000])
async def test_who_follows_a_run_is_told_of_each_round_that_ended(
    world: World, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Also of one that is as large as a page: an event has it beside the next one, which has begun."""
    monkeypatch.setattr(runs, "PAGE", room)
    boxes = await _boxes(world)
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=ROUNDS - 1))
    ended: set[int] = set()
    async with aclosing(follow(world, await runs.show_run(world, run.id), asyncio.Event())) as events:
        for _ in range(ROUNDS):
            await step(world, run.id)
            ended |= _ended(await anext(events))
            for box in boxes:
                await box.work()
        await step(world, run.id)
        ended |= _ended(await anext(events))
    assert ended == set(range(1, ROUNDS + 1))


def _ended(event: bytes) -> set[int]:
    rounds = json.loads(event.partition(b"data: ")[2])["rounds"]
    return {each["number"] for each in rounds if each["closed_at"]}
