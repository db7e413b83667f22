"""Answers what is asked at the console: how it goes, what waits; and pauses and resumes training."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from headwater_agent.core import maintenance
from headwater_agent.core.maintenance import Instant, Lock
from headwater_agent.core.status import Status
from headwater_agent.edges.maintenance import MaintenanceFile, instant

LONGEST_S = 366 * 86_400.0
_REASON = 200  # characters


@dataclass(frozen=True, slots=True)
class Clerk:
    """`status` describes the agent; `changed` hears of a pause that began or ended; `ends` is the certificate's."""

    state: Path
    version: str
    status: Callable[[], Status]
    changed: Callable[[], None]
    ends: Callable[[], datetime | None]
    now: Callable[[], Instant] = instant

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; raise ValueError with a sentence if it makes no sense, OSError if it can't be kept."""
        match request:
            case {"ask": "status"}:
                return self._told()
            case {"ask": "spool"}:
                return {"spool": [asdict(delta) for delta in self.status().spooled]}
            case {"ask": "pause"}:
                lock = lock_of(request, now=self.now())
                await self._put(lock)
                return {"paused": maintenance.objection(lock, now=self.now())}
            case {"ask": "resume"}:
                held = self._lock()
                await self._put(None)
                return {"was": maintenance.objection(held, now=self.now())}
        raise ValueError(f"this agent is asked for status, spool, pause or resume, not {request.get('ask')!r}")

    def _told(self) -> dict[str, Any]:
        ends = self.ends()
        return {
            "pid": os.getpid(),
            "version": self.version,
            "certificate_ends": ends and ends.isoformat(),
            "paused": maintenance.objection(self._lock(), now=self.now()),
            **asdict(self.status()),
        }

    def _lock(self) -> Lock | None:
        return MaintenanceFile(self.state).read()

    async def _put(self, lock: Lock | None) -> None:
        await asyncio.to_thread(MaintenanceFile(self.state).write, lock)
        self.changed()


def lock_of(request: dict[str, Any], *, now: Instant) -> Lock:
    """Read what a pause is to be; raise ValueError."""
    for_s, reason = request.get("for_s"), request.get("reason", "")
    if for_s is not None and not (type(for_s) in {int, float} and 0 < for_s <= LONGEST_S):
        raise ValueError("a pause is for a time between a second and a year, or without one until it is resumed")
    if not isinstance(reason, str):
        raise ValueError("a reason is a text")
    return maintenance.lock(now=now, for_s=for_s, reason=short(reason))


def short(reason: str) -> str:
    """Put a reason on a line, and cut it: it is shown in one, and a request has an end."""
    plain = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(plain.split())[:_REASON]
