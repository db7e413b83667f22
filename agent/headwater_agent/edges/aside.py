"""Calls that may never return: a driver that hangs, a mount whose server is gone."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def aside(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call in a thread of its own, that the end of the process does not wait for, as it does for `asyncio.to_thread`'s.

    So it is for what leaves nothing half done: for looks.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def settle(tell: Callable[[], None]) -> None:
        if not outcome.done():  # it was cancelled
            tell()

    def look() -> None:
        try:
            tell = partial(outcome.set_result, call(*args, **kwargs))
        except Exception as error:
            tell = partial(outcome.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended, and nobody asks any more
            loop.call_soon_threadsafe(settle, tell)

    Thread(target=look, name=f"aside.{getattr(call, '__name__', 'call')}", daemon=True).start()
    return await outcome
