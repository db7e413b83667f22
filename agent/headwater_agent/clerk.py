"""Answers what is asked at the console: how it goes, what waits; and pauses and resumes training."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from time import time as wall_s
from typing import Any

from headwater_agent.core import maintenance
from headwater_agent.core.maintenance import Lock
from headwater_agent.core.session import ServerTime
from headwater_agent.core.status import Reach, Status
from headwater_agent.edges.maintenance import MaintenanceFile

LONGEST_S = 366 * 86_400.0
_REASON = 200  # characters


@dataclass
class Contact:
    """When the control plane answered a Sync last, in this life: each answer brings the session another time."""

    time: ServerTime
    _at_s: float | None = None
    _ahead_s: float | None = None

    def note(self, time: ServerTime) -> None:
        """Hear of a session's time of the server."""
        if time.at_s != self.time.at_s and self.time.at_s:  # the first change is the start's: `machine.resume`
            self._at_s, self._ahead_s = monotonic(), wall_s() - time.server_ms / 1000
        self.time = time

    def reach(self, broker: str, gateway: str, *, connected: bool) -> Reach:
        """Say how the control plane is reached."""
        synced_s = None if self._at_s is None else monotonic() - self._at_s
        return Reach(broker, gateway, connected, synced_s, self._ahead_s)


@dataclass(frozen=True, slots=True)
class Clerk:
    """`status` describes the agent; `changed` hears of a pause that began or ended; `ends` is the certificate's."""

    state: Path
    version: str
    status: Callable[[], Status]
    changed: Callable[[], None]
    ends: Callable[[], datetime | None]
    now_s: Callable[[], float] = wall_s

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; raise ValueError with a sentence if it makes no sense, OSError if it can't be kept."""
        match request:
            case {"ask": "status"}:
                return self._told()
            case {"ask": "spool"}:
                return {"spool": [asdict(delta) for delta in self.status().spooled]}
            case {"ask": "pause"}:
                lock = lock_of(request, now_ms=int(self.now_s() * 1000))
                await self._put(lock)
                return {"paused": paused(lock, now_ms=int(self.now_s() * 1000))}
            case {"ask": "resume"}:
                held = self._lock()
                await self._put(None)
                return {"was": paused(held, now_ms=int(self.now_s() * 1000))}
        raise ValueError(f"this agent is asked for status, spool, pause or resume, not {request.get('ask')!r}")

    def _told(self) -> dict[str, Any]:
        ends = self.ends()
        return {
            "pid": os.getpid(),
            "version": self.version,
            "certificate_ends": ends and ends.isoformat(),
            "paused": paused(self._lock(), now_ms=int(self.now_s() * 1000)),
            **asdict(self.status()),
        }

    def _lock(self) -> Lock | None:
        return MaintenanceFile(self.state).read()

    async def _put(self, lock: Lock | None) -> None:
        await asyncio.to_thread(MaintenanceFile(self.state).write, lock)
        self.changed()


def lock_of(request: dict[str, Any], *, now_ms: int) -> Lock:
    """Read what a pause is to be; raise ValueError."""
    for_s, reason = request.get("for_s"), request.get("reason", "")
    if for_s is not None and not (type(for_s) in {int, float} and 0 < for_s <= LONGEST_S):
        raise ValueError("a pause is for a time between a second and a year, or without one until it is resumed")
    if not isinstance(reason, str):
        raise ValueError("a reason is a text")
    plain = "".join(character if character.isprintable() else " " for character in reason)
    return maintenance.lock(now_ms=now_ms, for_s=for_s, reason=" ".join(plain.split())[:_REASON])


def paused(lock: Lock | None, *, now_ms: int) -> str:
    """Say that training is paused, and until when; nothing, if it is not."""
    return maintenance.objection(lock, now_ms=now_ms)
