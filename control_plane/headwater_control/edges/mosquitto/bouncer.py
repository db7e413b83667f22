"""Keeps those who are shut out away from mosquitto: the door is locked first, then who is inside is put out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Never

from headwater_wire.ids import DeviceId

from headwater_control.edges.mosquitto.kicker import Kicker
from headwater_control.edges.mosquitto.reload import NotReloaded
from headwater_control.edges.mosquitto.revocations import RevocationList
from headwater_control.ports import Busy, Clock

log = logging.getLogger(__name__)

_AGAIN_AFTER_S = 1.0  # for who came in while mosquitto was reading the list
_BACKOFF_FIRST_S = 0.5
_BACKOFF_MOST_S = 30.0

Worthless = Callable[[], Awaitable[Mapping[str, DeviceId]]]  # all certificates that must not let in, and whose


class Bouncer:
    """Either means alone leaves a gap: a CRL ends no session, and who is only put out comes back at once."""

    def __init__(self, revocations: RevocationList, kicker: Kicker, worthless: Worthless, clock: Clock) -> None:
        self._revocations = revocations
        self._kicker = kicker
        self._worthless = worthless
        self._clock = clock
        self._listed: frozenset[str] | None = None  # what mosquitto has read; None: not known
        self._due: set[DeviceId] = set()
        self._rung = asyncio.Event()

    def cut(self, device: DeviceId) -> None:
        """Note that a device is shut out; it does not block."""
        self._due.add(device)
        self._rung.set()

    def changed(self) -> None:
        """Note that the list has to be looked at: somebody may come in again."""
        self._rung.set()

    async def run(self) -> None:
        """Work until cancelled. At the start the list is written anew, and all that are on it are put out."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._kicker.run(), name="bouncer.kicker")
            tasks.create_task(self._keep(), name="bouncer.list")

    async def _keep(self) -> Never:
        failures = 0
        while True:
            self._rung.clear()
            due = frozenset(self._due)
            try:
                due |= await self._lock_out()
            except (NotReloaded, Busy) as error:
                failures += 1
                pause_s = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** min(failures - 1, 16))
                log.error("mosquitto still lets in who is shut out: %s; trying again in %.1f s", error, pause_s)
                self._kicker.end(due)  # they come back, but not for nothing
            else:
                failures = 0
                self._due -= due
                self._kicker.end(due)
                asyncio.get_running_loop().call_later(_AGAIN_AFTER_S, self._kicker.end, due)
                pause_s = None
            await self._wait(pause_s)

    async def _lock_out(self) -> frozenset[DeviceId]:
        """Let mosquitto read who is shut out now, if it has not yet; at the start, say who may still be inside."""
        worthless = await self._worthless()
        first = self._listed is None
        if frozenset(worthless) != self._listed:
            self._listed = None  # until it is known to be read, whatever was read before
            await self._revocations.replace(worthless, self._clock.now())
            self._listed = frozenset(worthless)
            log.info("mosquitto refuses %d certificates", len(worthless))
        return frozenset(worthless.values()) if first else frozenset()

    async def _wait(self, longest_s: float | None) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._rung.wait()
        except TimeoutError:
            return
