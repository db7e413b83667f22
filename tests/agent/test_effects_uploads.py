"""Uploads: what is asked of the uplink, what of the day, and what each kind of trouble becomes."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.session import DAY_MS
from headwater_agent.edges.allowance import DailyAllowance
from headwater_agent.effects import ALLOWANCE_S
from headwater_agent.ports import Gone, Unavailable
from headwater_wire import digests
from headwater_wire.ids import TaskId
from headwater_wire.messages import (
    Offer,
    Phase,
    Progress,
    Receipt,
    ReceiptKind,
)

from tests.fakes.agent_bench import DONE, Bench
from tests.fakes.agent_home import until
from tests.fakes.agent_world import METRICS
from tests.fakes.leaping import in_virtual_time

DAY_S = DAY_MS / 1000
BULKY = b"x" * 60  # of 100 bytes a day


async def test_an_upload_goes_on_until_a_receipt_comes(bench: Bench) -> None:
    """Whatever the trouble in between."""
    bench.worker.replies = [DONE]
    await bench.effects.perform(do.Train(bench.task, 1))
    receipt = Receipt(ReceiptKind.TOO_LATE, reason="the round is over")
    bench.uplink.receipts = [Unavailable("a"), Unavailable("b", 0.01), Gone("c"), receipt]
    event = await bench.effects.perform(bench.upload(bench.task))
    assert event == on.Receipted(bench.task.id, receipt)
    assert [(offer.task, offer.codec) for offer in bench.uplink.offers] == 4 * [(bench.task.id, "f32")]


def test_an_upload_without_room_on_its_day_is_put_off(tmp_path: Path) -> None:
    """It stays spooled, says why, and goes up when the day is over."""

    async def uploaded() -> tuple[list[Progress], float]:
        bench, shown = Bench(tmp_path), list[Progress]()
        bench.effects.allowance = TakesOnly([1500.0, 900.0, 0.0, 0.0])
        bench.worker.replies = [DONE]
        bench.uplink.receipts = [Receipt(ReceiptKind.COMMITTED)]
        bench.link.pulse = lambda: shown.append(bench.effects.live[bench.task.id])  # type: ignore[method-assign]
        await bench.effects.perform(do.Train(bench.task, 1))
        assert isinstance(await bench.effects.perform(bench.upload(bench.task)), on.Receipted)
        return shown, asyncio.get_running_loop().time()

    shown, took_s = in_virtual_time(uploaded())
    waiting = [progress for progress in shown if progress.waiting_for]
    assert len(waiting) == 2 and {progress.phase for progress in waiting} == {Phase.SPOOLED}
    assert took_s == pytest.approx(2 * ALLOWANCE_S, abs=1.0)


@dataclass
class TakesOnly:
    """An allowance that answers as the test says."""

    answers: list[float]

    def wait_s(self, size: int) -> float:
        """Answer."""
        return self.answers.pop(0)

    def take(self, size: int) -> float:
        """Answer."""
        return self.answers.pop(0)


def test_what_can_t_be_sent_uses_up_no_day(tmp_path: Path) -> None:
    """However long the control plane was away and however many deltas wait, each day then sees what it may."""
    bench, sent = Bench(tmp_path), list[float]()

    async def days() -> None:
        loop = asyncio.get_running_loop()
        bench.effects.allowance = DailyAllowance(tmp_path, 100, lambda: 20_000 * DAY_S + loop.time())
        bench.effects.uplink = AwayFor(6.5 * DAY_S, sent)  # type: ignore[assignment]  # it only uploads
        bench.effects.patience.chance = lambda: 0.99
        uploads = []
        for number in range(7):
            task = replace(bench.task, id=TaskId(f"t{number}"))
            source = bench.spool.work_path(task.id, 1)
            source.write_bytes(BULKY)
            await bench.spool.adopt(task.id, source, digests.of_bytes(BULKY))
            uploads.append(bench.effects.perform(do.Upload(task, 1, digests.of_bytes(BULKY), METRICS)))
        await asyncio.gather(*uploads)

    in_virtual_time(days())
    assert Counter(int(at_s // DAY_S) for at_s in sent) == dict.fromkeys(range(6, 13), 1)


@dataclass
class AwayFor:
    """An uplink that nobody answers for a while; then it takes everything, and notes when."""

    away_s: float
    sent: list[float]

    async def upload(
        self, offer: Offer, path: Path, sent: Callable[[int], None], wanted: Callable[[], Awaitable[None]]
    ) -> Receipt:
        """Take it, once it may come."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self.away_s:
            raise Unavailable("nobody is there", 300.0)
        await wanted()
        self.sent.append(now_s)
        return Receipt(ReceiptKind.COMMITTED)


async def test_a_full_server_leaves_the_delta_spooled(bench: Bench) -> None:
    """While the box waits as it was asked to, it does not seem to upload: for no progress it would be given up."""
    bench.worker.replies = [DONE]
    await bench.effects.perform(do.Train(bench.task, 1))
    bench.uplink.receipts = [Unavailable("RESOURCE_EXHAUSTED: too many uploads at once", 60.0)]
    uploading = asyncio.create_task(bench.effects.perform(bench.upload(bench.task)))
    live = bench.effects.live
    await until(lambda: bench.task.id in live and live[bench.task.id].waiting_for, "the reason")
    shown = live[bench.task.id]
    assert shown.phase is Phase.SPOOLED and "too many uploads" in shown.waiting_for
    uploading.cancel()
    await asyncio.wait([uploading])
    assert bench.effects.live == {}


async def test_an_upload_that_breaks_off_is_no_wait_for_a_turn(bench: Bench) -> None:
    """Else a box whose every upload breaks would never be given up."""
    bench.worker.replies = [DONE]
    await bench.effects.perform(do.Train(bench.task, 1))
    bench.effects.patience.chance = lambda: 1.0
    bench.uplink.receipts = [Unavailable("UNAVAILABLE: reset") for _ in range(9)]
    uploading = asyncio.create_task(bench.effects.perform(bench.upload(bench.task)))
    live = bench.effects.live
    await until(lambda: bench.task.id in live and live[bench.task.id].waiting_for, "the reason")
    assert live[bench.task.id].phase is Phase.UPLOADING
    uploading.cancel()
    await asyncio.wait([uploading])


async def test_a_lost_delta_is_told_not_sent(bench: Bench) -> None:
    """The machine decides whether to train again."""
    event = await bench.effects.perform(bench.upload(bench.task))
    assert isinstance(event, on.SpoolLost) and event.attempt == 1
    assert bench.uplink.offers == []


def test_a_delta_waits_for_a_network_that_suits(tmp_path: Path) -> None:
    """Also one whose upload was cut short when the box went over to its modem; the heartbeat says what it waits for."""

    async def uploaded() -> list[str]:
        bench, said = Bench(tmp_path), list[str]()
        answers = ["it is metered", "", "it is metered", "it is metered", ""]  # asked before each attempt, and in it
        bench.effects.unsuited = lambda: answers.pop(0) if answers else ""
        bench.worker.replies = [DONE]
        bench.uplink.receipts = [Receipt(ReceiptKind.COMMITTED)]
        bench.link.pulse = lambda: said.append(bench.effects.live[bench.task.id].waiting_for)  # type: ignore[method-assign]
        await bench.effects.perform(do.Train(bench.task, 1))
        assert isinstance(await bench.effects.perform(bench.upload(bench.task)), on.Receipted)
        assert len(bench.uplink.offers) == 1 and not answers
        return [words for words in said if words]

    assert in_virtual_time(uploaded()) == 2 * ["the device: it is metered"]
