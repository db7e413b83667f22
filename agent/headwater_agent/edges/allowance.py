"""The bytes that went up today, in a file, so that a restart does not forget them."""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from headwater_wire import durable

from headwater_agent.core import allowance
from headwater_agent.core.session import Sent

FILE = "uploaded.json"
_log = logging.getLogger(__name__)


class DailyAllowance:
    """The `Allowance` port; days are those of the box's own clock."""

    def __init__(self, state: Path, limit_bytes: int, now_s: Callable[[], float] = time.time) -> None:
        self._path = state / FILE
        self._limit = limit_bytes
        self._now_s = now_s
        self._spent = _read(self._path)
        self._lock = threading.Lock()

    def wait_s(self, size: int) -> float:
        """Say for how many seconds an upload is put off, 0 if it may begin; nothing is counted."""
        with self._lock:
            return allowance.take(self._spent, size, limit=self._limit, now_ms=int(self._now_s() * 1000))[1]

    def take(self, size: int) -> float:
        """Count an upload that is about to begin; or say for how many seconds it is put off, and count nothing."""
        with self._lock:
            spent, wait_s = allowance.take(self._spent, size, limit=self._limit, now_ms=int(self._now_s() * 1000))
            if not wait_s:
                self._spent = spent
                try:
                    durable.write(self._path, json.dumps(asdict(spent)).encode() + b"\n", private=True)
                except OSError as error:  # it counts until the next start
                    _log.warning("what was uploaded today can't be written down: %s", error)
            return wait_s


def _read(path: Path) -> Sent:
    try:
        told = json.loads(path.read_bytes())
        return Sent(int(told["day"]), int(told["size"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Sent()
