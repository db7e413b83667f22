"""Many questions answered in one go: while one transaction is being committed, those that come meanwhile gather."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from headwater_control.ports import Busy

MOST = 32  # in one go: more would keep other writers waiting
TRIES, PAUSE_S = 3, 0.5  # while the database is busy

Asked = TypeVar("Asked")
Said = TypeVar("Said")
Done = TypeVar("Done")


async def patiently(write: Callable[[], Awaitable[Done]]) -> Done:
    """Write for many devices: while the database is busy try again, lest all of them have to; at last raise `Busy`."""
    for _ in range(TRIES - 1):
        try:
            return await write()
        except Busy:
            await asyncio.sleep(PAUSE_S)
    return await write()


class Gathering(Generic[Asked, Said]):
    """Group commit (DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984).

    Who comes alone is answered at once. If a go fails, each of it is tried alone, lest one fail for another's sake.
    """

    def __init__(self, go: Callable[[Sequence[Asked]], Awaitable[Sequence[Said]]]) -> None:
        self._go = go
        self._waiting: deque[tuple[Asked, asyncio.Future[Said]]] = deque()
        self._working: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Count those that no go has taken up yet."""
        return len(self._waiting)

    async def ask(self, asked: Asked) -> Said:
        """Give the answer, or raise what asking this alone raises."""
        answer: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="gathering")
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            taken = [(asked, answer) for asked, answer in taken if not answer.done()]  # done: nobody waits any more
            if not await self._together(taken):
                for each in taken:
                    await self._alone(*each)

    async def _together(self, taken: list[tuple[Asked, "asyncio.Future[Said]"]]) -> bool:
        if len(taken) < 2:
            return False
        try:
            said = await patiently(lambda: self._go([asked for asked, _ in taken]))
        except Busy as error:  # none of them is to blame: to ask alone would only add to the crowd
            for _, answer in taken:
                if not answer.done():
                    answer.set_exception(Busy(str(error)))
            return True
        except Exception:  # one of them is to blame: alone each learns its own
            return False
        for (_, answer), one in zip(taken, said, strict=True):
            if not answer.done():
                answer.set_result(one)
        return True

    async def _alone(self, asked: Asked, answer: "asyncio.Future[Said]") -> None:
        if answer.done():
            return
        try:
            (one,) = await self._go([asked])
        except Exception as error:  # its asker's to handle
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(one)
