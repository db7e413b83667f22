"""What the control plane does for a mosquitto of the operator's while it runs."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headwater_control.config import Settings
from headwater_control.edges.clock import SystemClock
from headwater_control.edges.mosquitto import Bouncer, Kicker, Renewal, RevocationList
from headwater_control.link import Link
from headwater_control.ports import Store
from headwater_control.service.revocation import worthless
from headwater_control.service.roll import Roll
from headwater_control.trust import Trust

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Keeps out who is shut out, and the broker's certificate fresh."""

    bouncer: Bouncer
    renewal: Renewal

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.bouncer.run(), name="mosquitto.bouncer")
            tasks.create_task(self.renewal.run(), name="mosquitto.renewal")


def upkeep(settings: Settings, trust: Trust, roll: Roll, store: Store, link: Link) -> Upkeep | None:
    """Make what an external broker needs; None: there is none, or it can't be reached so."""
    if settings.broker == "embedded" or trust.tls is None:
        return None
    if not settings.mosquitto_dir:
        log.warning(
            "who is disabled can still connect to the broker at %s:%d: set mosquitto_dir and mosquitto_reload "
            "(docs/broker.md)",
            link.host,
            link.port,
        )
        return None
    folder, command, clock = Path(settings.mosquitto_dir), settings.reload_command, SystemClock()

    def issue(names: Sequence[str], now: datetime) -> bytes:
        leaf = trust.authority.server(names, now)
        return leaf.key + leaf.chain

    bouncer = Bouncer(
        RevocationList(folder, trust.authority.revoked, command),
        Kicker(link),
        lambda: worthless(store, clock.now()),
        clock,
    )
    roll.on_bar(bouncer.cut)
    roll.on_change(bouncer.changed)
    return Upkeep(bouncer, Renewal(folder, issue, command, clock))
