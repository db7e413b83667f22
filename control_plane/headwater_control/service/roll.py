"""Who is shut out, in memory, as fresh as a second: each handshake and each call looks here."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Never

from headwater_wire.ids import DeviceId

from headwater_control.core.identity import GRACE, Barred
from headwater_control.ports import Busy, Clock, Store

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0  # for what another replica decided; our own decisions are here at once

Cut = Callable[[DeviceId], None]  # ends a device's live connections; it must not block


class Roll:
    """The barred. Whoever keeps connections hears of each device whose certificates are worth less than before."""

    def __init__(self) -> None:
        self.barred = Barred()
        self._cuts: list[Cut] = []
        self._changed: list[Callable[[], None]] = []
        self._looking = asyncio.Lock()  # else a look that began before a decision could end after it, and undo it

    def on_bar(self, cut: Cut) -> None:
        """Call `cut` with each device that is shut out, or has a certificate revoked, from now on."""
        self._cuts.append(cut)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever others are shut out than before, be it more or fewer; it must not block."""
        self._changed.append(changed)

    async def look(self, store: Store, now: datetime) -> None:
        """Read who is shut out, and cut whoever has come to be since the last look."""
        async with self._looking:
            async with store.read() as tx:
                barred, owners = await tx.members.barred(now - GRACE)
            self._take(barred, owners)

    async def look_soon(self, store: Store, now: datetime) -> None:
        """Look now, or, if the database is busy, within a second: what was decided is decided."""
        try:
            await self.look(store, now)
        except Busy as error:
            log.warning("can't read who is shut out, the last answer holds: %s", error)

    def _take(self, barred: Barred, owners: dict[str, DeviceId]) -> None:
        fresh = (barred.devices - self.barred.devices) | {owners[s] for s in barred.serials - self.barred.serials}
        before, self.barred = self.barred, barred
        for device in sorted(fresh):
            log.info("device %s is shut out: its connections end", device)
            for cut in self._cuts:
                cut(device)
        if barred != before:
            for changed in self._changed:
                changed()

    async def keep(self, store: Store, clock: Clock) -> Never:
        """Look again and again, until cancelled."""
        while True:
            await clock.sleep(_LOOK_EVERY_S)
            await self.look_soon(store, clock.now())
