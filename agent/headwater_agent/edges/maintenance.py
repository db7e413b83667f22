"""The maintenance lock on disk: `maintenance.json` in the state_dir, which outlives the agent."""

import json
import os
import time
from pathlib import Path

from headwater_wire import durable

from headwater_agent.core.maintenance import LATEST_MS, Instant, Lock

_BOOT = Path("/proc/sys/kernel/random/boot_id")
FILE = "maintenance.json"
_DAMAGED = "the record of the pause is damaged: say `headwater-agent resume`"


def instant() -> Instant:
    """Tell what moment it is."""
    try:
        boot = _BOOT.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        boot = ""
    return Instant(int(time.time() * 1000), time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000, boot)


class MaintenanceFile:
    """Holds one lock, or none."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE

    def read(self) -> Lock | None:
        """Give the lock. A record that can't be read is a lock: somebody had paused, and may still be at work."""
        try:
            told = json.loads(self._path.read_bytes())
            until = told["until_ms"]
            since = Instant(_moment(told["since_ms"]), _moment(told.get("up_ms", 0)), str(told.get("boot", "")))
            return Lock(since, None if until is None else _moment(until), str(told["reason"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return Lock(Instant(0), None, _DAMAGED)

    def write(self, lock: Lock | None) -> None:
        """Remember a lock, or that there is none, durably; raise OSError."""
        state = self._path.parent
        if not state.is_dir():
            raise FileNotFoundError(f"{state} is not there yet: it begins with the agent's first start")
        if lock is None:
            durable.remove(self._path, durably=True)
            return
        since = lock.since
        told = {"since_ms": since.ms, "up_ms": since.up_ms, "boot": since.boot}
        told |= {"until_ms": lock.until_ms, "reason": lock.reason}
        durable.write(self._path, json.dumps(told).encode() + b"\n", private=True)
        owner = state.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:  # paused by root, for a service with a user of its own
            os.chown(self._path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _moment(told: object) -> int:
    """Take a Unix time in milliseconds; one of no calendar would end whoever tells it, at each start anew."""
    if type(told) is not int or not 0 <= told <= LATEST_MS:
        raise ValueError(f"no time: {told!r}")
    return told
