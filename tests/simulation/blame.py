"""Whose an exception is: the simulated world's, which breaks disks, databases and processes, or a bug of the code's."""

import logging
from contextlib import suppress
from errno import EIO, ENOSPC

from headwater_control.ports import Busy, OffloadFailed

from tests.simulation.history import Broken, History
from tests.simulation.loop import Crashed


def of_the_disk(error: BaseException) -> bool:
    """Say whether it is what a disk here refuses with: no other OSError is."""
    if isinstance(error, BaseExceptionGroup):
        return all(of_the_disk(inner) for inner in error.exceptions)
    return isinstance(error, OSError) and error.errno in (EIO, ENOSPC)


def of_the_world(error: BaseException) -> bool:
    """Say whether the world, or the simulation itself, has brought it about."""
    if isinstance(error, BaseExceptionGroup):
        return all(of_the_world(inner) for inner in error.exceptions)
    return of_the_disk(error) or isinstance(error, Busy | OffloadFailed | Crashed | Broken)


class Listener(logging.Handler):
    """Hears what the code catches, logs with its trace, and goes on from: unless the world is to blame, it is a bug."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def emit(self, record: logging.LogRecord) -> None:
        """Hear of one."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not of_the_world(error):
            with suppress(Broken):  # who logs it may catch that too: the history is broken all the same
                self._history.break_off("no bug", f"{record.name} logs {told(error)}")


def told(error: BaseException) -> str:
    """Say the first of what it is made of."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
