"""Asyncio's own timers in virtual time: when nothing is ready, it is the next timer's time already."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Leaping(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timer: something real is waited for
            return super().select()
        ready = super().select(0)
        self.now_s += 0.0 if ready else timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Leaping()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


def in_virtual_time(main: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end; its waits take no time, and the loop's clock tells how long they would have taken."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
