"""Many questions in one go, and when those come back who were turned away."""

import asyncio
import heapq
from collections.abc import Sequence

import pytest
from headwater_control.gates.gathering import MOST, Gathering
from headwater_control.gates.pacing import A_SECOND, Pace


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


@pytest.mark.parametrize("crowd", [1, 50, 300, 2000, 5000])
def test_however_many_are_turned_away_few_come_back_in_a_second(crowd: int) -> None:
    """After the first rush there are about as many a second as we can well refuse; a few wait a second or so."""
    now = 0.0
    pace = Pace(lambda: now)
    due = [0.0] * crowd
    came: list[float] = []
    while now < 120.0:
        now = heapq.heappop(due)
        came.append(now)
        heapq.heappush(due, now + pace.pause_s())
    later = [at for at in came if at > 60.0]
    assert len(later) / 60.0 < 1.5 * A_SECOND
    if crowd < A_SECOND:
        assert len(later) / 60.0 > crowd / 1.6
    else:
        assert len(later) / 60.0 > A_SECOND / 3, "places must not stay empty"
