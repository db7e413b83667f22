"""Threads for calls that may never return: a driver that hangs, a mount whose server is gone, a dead name server."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import ParamSpec, TypeVar

_FAREWELL_S = 2.0  # a write that is under way is soon done; what is cut off is as after a power cut
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Threads(ThreadPoolExecutor):
    """A thread for each call: those that hang keep no other waiting, and the end of the process hardly.

    asyncio's own has a few threads, which a few such calls use up for good, and joins them at the end.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1)  # which is never begun
        self._under_way: set[Thread] = set()

    def submit(self, call: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> "Future[_T]":
        """Begin a call."""
        outcome: Future[_T] = Future()

        def run() -> None:
            try:
                if outcome.set_running_or_notify_cancel():
                    outcome.set_result(call(*args, **kwargs))
            except BaseException as error:  # its asker's to handle
                outcome.set_exception(error)
            finally:
                self._under_way.discard(thread)

        thread = Thread(target=run, name="call", daemon=True)
        self._under_way.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the unit may have no more of them (TasksMax)
            self._under_way.discard(thread)
            raise
        return outcome

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what is under way, but not for long."""
        until = time.monotonic() + (_FAREWELL_S if wait else 0.0)
        for thread in tuple(self._under_way):
            thread.join(max(0.0, until - time.monotonic()))


def use_threads() -> None:
    """Have the running loop's `asyncio.to_thread`, and its look-ups of names, go by them."""
    asyncio.get_running_loop().set_default_executor(Threads())
