"""Signals that a process hears as long as its work lasts, and not on its way out."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def heard(handlers: Mapping[signal.Signals, Callable[[], object]]) -> Iterator[None]:
    """Call the handler on the running loop when its signal comes; once left, ignore these signals.

    A service manager, or a person, may ask twice. A loop that is just being closed has its pipe for signals closed
    before its handlers are gone, and Python would complain of a second SIGTERM there.
    """
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
