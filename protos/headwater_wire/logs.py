"""Writes a daemon's log by a thread of its own, so that nobody who reads it slowly, or not at all, holds up the work.

stderr blocks: once journald hangs, or a pipe's reader has stopped, write(2) returns no more.
"""

import logging
import os
import queue
import select
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_MOST_LINES = 1000
_PATIENCE_S = 1.0


@contextmanager
def written(level: str = "WARNING") -> Iterator[None]:
    """Have what is logged from `level` on written to stderr, as long as the context lasts; no logging call waits.

    On leaving, what is still queued is waited for, a second or two at most. If it isn't taken by then, or what has been
    taken leaves no room, stderr becomes /dev/null, so that no last word blocks either. A traceback may be longer than
    that room: it is waited for no longer.
    """
    gone = sys.stderr is None  # closed before we began: its number may be a database's by now
    descriptor = os.open(os.devnull, os.O_WRONLY) if gone else sys.stderr.fileno()
    handler = Queued(descriptor)
    logging.basicConfig(level=level, format=_FORMAT, handlers=[handler])
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        if handler.end() and _has_room(descriptor):
            sys.excepthook = partial(_print_traceback, descriptor)
        else:
            _silence(descriptor)


class Queued(logging.Handler):
    """Writes lines to a descriptor, in order. Those for which there is no room are counted, and in their place told of.

    After a loss half of the room has to be free again, lest every other line tell of one.
    """

    def __init__(self, descriptor: int, most_lines: int = _MOST_LINES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._most_lines = most_lines
        # Its put may be entered again by a finalizer that logs, where Queue's lock would wait for itself for ever.
        self._lines: queue.SimpleQueue[str | _Missed | None] = queue.SimpleQueue()
        self._missed: _Missed | None = None
        self._writer = threading.Thread(target=self._write, name="logs", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue its line, if there is room."""
        if self._lines.qsize() >= (self._most_lines // 2 if self._missed else self._most_lines):
            if self._missed is None:
                self._missed = _Missed(_tale())
                self._lines.put(self._missed)
            self._missed.lines += 1
            return
        self._missed = None
        try:
            self._lines.put(self.format(record))
        except Exception:  # as every handler of the standard library does: what is logged is wrong, and not the work
            self.handleError(record)

    def end(self) -> bool:
        """Wait until all lines are written, a second at most; say whether they are."""
        self._lines.put(None)
        self._writer.join(_PATIENCE_S)
        return not self._writer.is_alive()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            if isinstance(line, _Missed):
                line.tale.args = (line.lines,)
                line = self.format(line.tale)
            rest = f"{line}\n".encode(errors="backslashreplace")
            with suppress(OSError):  # its reader is gone, or the disk is full: there is nobody to tell
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]


@dataclass(slots=True)
class _Missed:
    tale: logging.LogRecord
    lines: int = 0


def _tale() -> logging.LogRecord:
    words = "%d lines were not logged: whoever reads them was too slow"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, None, None)


def _print_traceback(
    descriptor: int, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    last = Queued(descriptor)
    words = "".join(traceback.format_exception(kind, error, trace)).rstrip("\n")
    last.emit(logging.LogRecord(__name__, logging.CRITICAL, __file__, 0, words, None, None))
    if not last.end():
        _silence(descriptor)


def _silence(descriptor: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _has_room(descriptor: int) -> bool:
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    return bool(room.poll(_PATIENCE_S * 1000))
