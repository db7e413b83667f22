"""Wake-ups: none is lost between two looks, and many count as one."""

import asyncio

from headwater_control.service.bells import Bells
from headwater_wire.ids import RunId

from tests.fakes.clock import FakeClock, settle

RUN, OTHER = RunId("run"), RunId("other")


async def test_a_ring_between_two_waits_is_heard() -> None:
    """What rings while nobody waits ends the next wait at once; twice counts as once."""
    clock = FakeClock()
    bells = Bells(clock)
    with bells.lead(RUN) as bell:
        bells.ring(RUN)
        bells.ring(RUN)
        assert await bell.wait(60)
        waiting = asyncio.create_task(bell.wait(60))
        await clock.advance(59)
        assert not waiting.done()
        await clock.advance(1)
        assert not await waiting


async def test_each_listener_hears_its_own() -> None:
    """Another run's bell, and progress, wake no leader; the fleet wakes all."""
    bells = Bells(FakeClock())
    with bells.lead(RUN) as mine, bells.lead(OTHER) as other, bells.runs() as runs:
        bells.ring(RUN)
        bells.ring_watchers()
        assert (await mine.wait(0), await other.wait(0), await runs.wait(0)) == (True, False, False)
        bells.ring_fleet()
        assert (await mine.wait(0), await other.wait(0), await runs.wait(0)) == (True, True, False)
        bells.ring_runs()
        assert (await mine.wait(0), await other.wait(0), await runs.wait(0)) == (False, False, True)


async def test_a_watcher_sees_at_once_after_changes_and_now_and_then() -> None:
    """It yields first, after each change or bundle of changes, and every so often without any."""
    clock = FakeClock()
    bells = Bells(clock)
    seen = 0

    async def watch() -> None:
        nonlocal seen
        async for _ in bells.watch(RUN, every_s=5):
            seen += 1

    watching = asyncio.create_task(watch())
    await settle()
    assert seen == 1
    bells.ring(RUN)
    bells.ring_watchers()
    await settle()
    assert seen == 2
    await clock.advance(5)
    assert seen == 3
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_cancelled_wait_leaves_nobody_waiting() -> None:
    """Neither the bell's nor the clock's task outlives it."""
    clock = FakeClock()
    with Bells(clock).lead(RUN) as bell:
        waiting = asyncio.create_task(bell.wait(60))
        await settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert clock.next_due is None
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_reports_wake_when_there_are_enough() -> None:
    """Fewer than awaited wake nobody; those that came while the listener looked count, those before do not."""
    clock = FakeClock()
    bells = Bells(clock)
    with bells.lead(RUN) as bell:
        bells.report(RUN)
        bell.hush()
        bells.report(RUN)
        waiting = asyncio.create_task(bell.wait(60, reports=3, rest_s=10))
        await clock.advance(1)
        bells.report(RUN)
        await settle()
        assert not waiting.done()
        bells.report(RUN)
        await settle()
        assert await waiting
        assert not await bell.wait(0)


async def test_a_ring_waits_for_the_end_of_the_rest() -> None:
    """However often it rings, the listener rests first; then it comes at once."""
    clock = FakeClock()
    bells = Bells(clock)
    with bells.lead(RUN) as bell:
        waiting = asyncio.create_task(bell.wait(60, rest_s=10))
        for _ in range(9):
            bells.ring(RUN)
            await clock.advance(1)
        assert not waiting.done()
        await clock.advance(1)
        assert await waiting
