"""Many questions in one go, and when those come back who were turned away."""

import asyncio
import heapq
from collections.abc import Sequence

import pytest
from headwater_control.gates.gathering import MOST, Gathering
from headwater_control.gates.pacing import A_SECOND, Pace
from headwater_wire.ids import DeviceId


def box(number: int) -> DeviceId:
    """Name a device."""
    return DeviceId(f"box-{number}")


class Desk:
    """Doubles numbers, one go after the other, each when it is let; a negative one is its asker's fault."""

    def __init__(self) -> None:
        self.goes: list[list[int]] = []
        self.open = asyncio.Event()
        self.gathering: Gathering[int, int] = Gathering(self.go)

    async def go(self, asked: Sequence[int]) -> list[int]:
        """Answer a go."""
        self.goes.append(list(asked))
        await self.open.wait()
        if any(number < 0 for number in asked):
            raise ValueError("negative")
        return [2 * number for number in asked]


async def test_who_comes_alone_is_answered_at_once_and_the_others_gather_meanwhile() -> None:
    """One go is under way: what comes until its end shares the next one, up to a bound, each with its own answer."""
    desk = Desk()
    asking = [asyncio.create_task(desk.gathering.ask(number)) for number in range(MOST + 2)]
    await asyncio.sleep(0)
    first = asyncio.create_task(desk.gathering.ask(1000))
    await asyncio.sleep(0)
    desk.open.set()
    assert await asyncio.gather(*asking) == [2 * number for number in range(MOST + 2)]
    assert await first == 2000
    assert [len(go) for go in desk.goes] == [MOST, 3]
    assert await desk.gathering.ask(7) == 14
    assert desk.goes[-1] == [7] and desk.gathering.waiting == 0


async def test_no_one_fails_for_anothers_sake_and_who_has_left_is_not_answered() -> None:
    """A go that fails is repeated one by one; a caller that gave up costs nothing."""
    desk = Desk()
    good, bad, gone = (asyncio.create_task(desk.gathering.ask(number)) for number in (1, -1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    desk.open.set()
    assert await good == 2
    with pytest.raises(ValueError, match="negative"):
        await bad
    assert desk.goes == [[1, -1], [1], [-1]]


@pytest.mark.parametrize("crowd", [1, 50, 300, 2000, 5000, 9000])
def test_however_many_are_turned_away_few_come_back_in_a_second(crowd: int) -> None:
    """After the first rush there are about as many a second as we can well refuse; a few wait a second or so."""
    now = 0.0
    pace = Pace(lambda: now)
    due = [(0.0, box(number)) for number in range(crowd)]
    came: list[float] = []
    while now < 180.0:
        now, who = heapq.heappop(due)
        came.append(now)
        heapq.heappush(due, (now + pace.pause_s(who), who))
    later = [at for at in came if at > 120.0]
    assert len(later) / 60.0 < 1.2 * max(A_SECOND, crowd / 60.0)
    if crowd < A_SECOND:
        assert len(later) / 60.0 > crowd / 1.6
    else:
        assert len(later) / 60.0 > A_SECOND / 1.5, "turns must not stay empty"


@pytest.mark.parametrize("rush", [2, 90, 900])
def test_a_rush_waits_no_longer_than_its_number_takes(rush: int) -> None:
    """However fast it comes: that a server was full for a moment makes nobody wait for minutes."""
    pace = Pace(lambda: 7.0)
    pauses = sorted(pace.pause_s(box(number)) for number in range(rush))
    assert pauses[-1] <= max(1.5, rush / A_SECOND + 0.001)
    assert pauses[0] >= 0.5


def test_who_comes_before_its_turn_takes_no_other() -> None:
    """A device that calls a thousand times a second pushes nobody back, and does not come to its own turn sooner."""
    now = 0.0
    pace = Pace(lambda: now)
    turn_s = pace.pause_s(box(0))
    while now < turn_s - 0.002:
        now += 0.001
        assert pace.pause_s(box(0)) == pytest.approx(turn_s - now)
    assert pace.pause_s(box(1)) <= 1.5
    now = turn_s
    assert pace.pause_s(box(0)) >= 0.5


def test_turns_that_are_over_are_forgotten() -> None:
    """Whoever comes, and however many: memory holds those of the last minute or so."""
    now = 0.0
    pace = Pace(lambda: now)
    for number in range(20_000):
        pace.pause_s(box(number))
        now += 0.02
    assert len(pace._turns) < 500
