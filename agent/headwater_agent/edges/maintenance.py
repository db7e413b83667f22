"""The maintenance lock on disk: `maintenance.json` in the state_dir, which outlives the agent."""

import json
import os
from pathlib import Path

from headwater_wire import durable

from headwater_agent.core.maintenance import Lock

FILE = "maintenance.json"
_DAMAGED = "the record of the pause is damaged: say `headwater-agent resume`"


class MaintenanceFile:
    """Holds one lock, or none."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE

    def read(self) -> Lock | None:
        """Give the lock. A record that can't be read is a lock: somebody had paused, and may still be at work."""
        try:
            told = json.loads(self._path.read_bytes())
            until = told["until_ms"]
            return Lock(int(told["since_ms"]), None if until is None else int(until), str(told["reason"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return Lock(0, None, _DAMAGED)

    def write(self, lock: Lock | None) -> None:
        """Remember a lock, or that there is none, durably; raise OSError."""
        state = self._path.parent
        if not state.is_dir():
            raise FileNotFoundError(f"{state} is not there yet: it begins with the agent's first start")
        if lock is None:
            durable.remove(self._path, durably=True)
            return
        told = {"since_ms": lock.since_ms, "until_ms": lock.until_ms, "reason": lock.reason}
        durable.write(self._path, json.dumps(told).encode() + b"\n", private=True)
        owner = state.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:  # paused by root, for a service with a user of its own
            os.chown(self._path, owner.st_uid, owner.st_gid, follow_symlinks=False)
