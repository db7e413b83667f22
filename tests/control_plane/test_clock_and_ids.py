"""Time and names: the machine's, and a test's."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from headwater_control.edges.clock import SystemClock, SystemIds
from headwater_control.ports import Clock, Ids
from headwater_wire.ids import check_name

from tests.fakes.clock import START, FakeClock, settle
from tests.fakes.ids import FakeIds


@pytest.mark.parametrize("ids", [SystemIds(), FakeIds()], ids=["system", "fake"])
def test_ids_are_names_that_sort_by_time(ids: Ids) -> None:
    """However fast they are made, each is new, sorts after the last one, and can be a topic, a file and a URL."""
    made = [ids.new("run") for _ in range(20_000)]
    assert made == sorted(set(made))
    assert all(check_name(name, "run").startswith("run-") for name in made)


def test_replicas_make_different_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five that make a thousand each within one millisecond don't meet (by chance they would, once in 30,000 times)."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    made = [ids.new("task") for ids in [SystemIds() for _ in range(5)] for _ in range(1_000)]
    assert len(set(made)) == len(made)


async def test_the_system_clock_tells_utc() -> None:
    """Aware, and now."""
    clock: Clock = SystemClock()
    before = datetime.now(UTC)
    await clock.sleep(0)
    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.now().utcoffset() == timedelta(0)


async def test_virtual_sleepers_wake_in_order_each_at_its_time() -> None:
    """Also those that sleep again within the time that passes; the rest sleep on."""
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps_s: float) -> None:
        for nap_s in naps_s:
            await clock.sleep(nap_s)
            woken.append((name, (clock.now() - START).total_seconds()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("often", 2, 2, 2))
        group.create_task(sleeper("once", 3))
        group.create_task(sleeper("late", 11))
        await clock.advance(10)
        assert woken == [("often", 2), ("once", 3), ("often", 4), ("often", 6)]
        assert clock.now() == START + timedelta(seconds=10)
        assert clock.next_due == START + timedelta(seconds=11)
        await clock.advance(1)
    assert woken[-1] == ("late", 11)
    assert clock.next_due is None


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    """Time passes without it."""
    clock = FakeClock()
    sleeper = asyncio.create_task(clock.sleep(5))
    await settle()
    assert clock.next_due == START + timedelta(seconds=5)
    sleeper.cancel()
    await settle()
    assert clock.next_due is None
    await clock.advance(10)
    assert sleeper.cancelled()


async def test_a_spinning_task_is_an_error() -> None:
    """A test that could never go on says so."""

    async def spin() -> None:
        while True:  # noqa: ASYNC110  # to spin is the point
            await asyncio.sleep(0)

    spinner = asyncio.create_task(spin())
    with pytest.raises(AssertionError, match="spins"):
        await settle()
    spinner.cancel()
