"""A partition of hours, in virtual time: the agent's own loop and effects, and a control plane that does not answer."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from headwater_agent.core import events as on
from headwater_agent.core.session import Held, ServerTime, Session, Stage
from headwater_agent.ports import Unavailable, freely
from headwater_agent.shell import Shell
from headwater_wire import digests
from headwater_wire.messages import Offer, Receipt, ReceiptKind, SyncAnswer, SyncRequest

from tests.fakes.agent_bench import DELTA, Bench
from tests.fakes.agent_ports import MemoryJournal
from tests.fakes.agent_uplink import ScriptedUplink
from tests.fakes.agent_world import BOX, METRICS
from tests.fakes.leaping import in_virtual_time

HOURS_S = 7 * 3600.0
TOO_LATE = Receipt(ReceiptKind.TOO_LATE, reason="the round closed without it")


@dataclass
class _Away(ScriptedUplink):
    """Does not answer for hours; then says that it is too late."""

    tried_s: list[float] = field(default_factory=list)

    async def sync(self, request: SyncRequest) -> SyncAnswer:
        raise Unavailable("nobody is there")

    async def upload(
        self, offer: Offer, path: Path, sent: Callable[[int], None], wanted: Callable[[], Awaitable[None]] = freely
    ) -> Receipt:
        self.tried_s.append(asyncio.get_running_loop().time())
        if self.tried_s[-1] < HOURS_S:
            raise Unavailable("nobody is there")
        return TOO_LATE


def test_a_delta_waits_for_hours_at_a_bearable_pace_and_ends_with_its_receipt(tmp_path: Path) -> None:
    """It is offered some times a minute, never at an even pace, and within a minute of the end it is told and gone."""
    bench = Bench(tmp_path)
    away = _Away()
    bench.effects = replace(
        bench.effects,
        uplink=away,  # type: ignore[arg-type]  # it doesn't fetch
        chance=Random(7).random,
    )
    delta = digests.of_bytes(DELTA)
    held = Held(bench.task, 1, Stage.SPOOLED, 1, delta, METRICS, spooled_ms=1)

    async def live() -> Shell:
        source = bench.spool.work_path(bench.task.id, 1)
        source.write_bytes(DELTA)
        await bench.spool.adopt(bench.task.id, source, delta)
        shell = Shell(Session(BOX, time=ServerTime(1), held=(held,)), MemoryJournal())
        running = asyncio.create_task(shell.run(bench.effects))
        await shell.deliver(on.Disconnected(0.5))
        await asyncio.sleep(HOURS_S + 60)
        running.cancel()
        await asyncio.wait([running])
        return shell

    shell = in_virtual_time(live())
    pauses = [after - before for before, after in itertools.pairwise(away.tried_s)]
    assert HOURS_S / 30 < len(pauses) < HOURS_S / 10
    assert max(pauses) <= 30.0 and len({round(pause, 1) for pause in pauses}) > 100
    assert not shell.session.held and not bench.spool.held
