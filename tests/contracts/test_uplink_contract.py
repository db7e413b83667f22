"""What the port `Uplink` promises: run on the fake, and on gRPC to the stand-in for the gateway and to the real one.

So the stand-in answers as the control plane does, or a test here says where it does not.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from headwater_agent.config import Address
from headwater_agent.edges.trust import Gullible
from headwater_agent.edges.uplink import open_uplink
from headwater_agent.ports import Gone, Unavailable, Uplink
from headwater_agent.ration import PutOff
from headwater_control.core.runs import RunSpec
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.gates import grpc as gate
from headwater_control.gates.grpc import GrpcGate
from headwater_control.gates.peers import Peers
from headwater_control.service import runs
from headwater_wire import digests
from headwater_wire.chunks import CHUNK_BYTES
from headwater_wire.ids import Digest, TaskId
from headwater_wire.messages import (
    Blob,
    Failed,
    Metrics,
    Offer,
    Receipt,
    ReceiptKind,
    SyncAnswer,
    SyncRequest,
    Task,
    TaskReport,
)

from tests.control_plane.service.driver import step
from tests.fakes.agent_bundle import DEVICE, task
from tests.fakes.agent_gateway import ScriptedGateway, refusing, serving
from tests.fakes.agent_uplink import ServingUplink
from tests.fakes.world import MODEL, Box, fake_world, import_digits, read_blob

DELTA = bytes(range(256)) * 200
RETRAINED = DELTA[::-1]
WISH_S = 2.0  # of a server that has its hands full


@dataclass
class Target:
    """An uplink, its device's one open task, and the base version that goes with it.

    `script` tells the fake what to answer; `cancel` ends the task; `fill` makes the next call meet a busy server.
    """

    uplink: Uplink
    task: Task
    base: bytes
    script: Callable[[SyncAnswer | Receipt | Exception], None]
    cancel: Callable[[], Awaitable[None]]
    fill: Callable[[bool], None]
    shut: Callable[[], Awaitable[None]]

    def offer(self, data: bytes = DELTA) -> Offer:
        """Offer a delta."""
        return Offer(self.task.device, self.task.id, digests.of_bytes(data), "f32", Metrics(examples=3))

    def request(self, *reports: TaskReport) -> SyncRequest:
        """Ask what to hold."""
        return SyncRequest(self.task.device, 1, 0, reports=reports)

    async def fetched(self, blob: Blob, offset: int = 0) -> list[bytes]:
        """Fetch to the end, chunk by chunk."""
        async with aclosing(self.uplink.fetch(blob.digest, offset)) as chunks:
            return [chunk async for chunk in chunks]


@asynccontextmanager
async def scripted(folder: Path) -> AsyncIterator[Target]:
    """The fake."""
    base = b"base version" * 1000
    opened = replace(task(), base=digests.of_bytes(base))
    uplink = ServingUplink(blobs={opened.base.digest: base})

    def script(answer: SyncAnswer | Receipt | Exception) -> None:
        match answer:
            case SyncAnswer():
                uplink.answers.append(answer)
            case Receipt():
                uplink.receipts.append(answer)
            case _:
                uplink.answers.append(answer)
                uplink.receipts.append(answer)
                uplink.troubles.append(answer)

    def fill(full: bool) -> None:
        if full:
            uplink.receipts.append(Unavailable("too many uploads at once", WISH_S))

    async def nothing() -> None:
        pass

    yield Target(uplink, opened, base, script, nothing, fill, nothing)


def unscripted(answer: SyncAnswer | Receipt | Exception) -> None:
    """Let a server answer by itself."""


@asynccontextmanager
async def stand_in(folder: Path) -> AsyncIterator[Target]:
    """The real uplink, and the gateway that agents are tested against."""
    gateway = ScriptedGateway()
    base = b"base version" * 1000
    opened = replace(task(), base=gateway.put(base))
    gateway.open(opened)

    async def cancel() -> None:
        gateway.close(opened.id)

    def fill(full: bool) -> None:
        if full:
            busy = refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_ms=int(1000 * WISH_S))
            gateway.faults.append(("UploadDelta", busy))

    async with AsyncExitStack() as server:
        port = await server.enter_async_context(serving(gateway))
        async with open_uplink(Address("127.0.0.1", port), DEVICE, Gullible(), patience_s=10.0) as uplink:
            yield Target(uplink, opened, base, unscripted, cancel, fill, server.aclose)


@asynccontextmanager
async def control_plane(folder: Path) -> AsyncIterator[Target]:
    """The real uplink and the real gate, before a control plane in memory."""
    world = fake_world(folder, blobs=FolderBlobs(folder / "blobs"))
    await import_digits(world, folder)
    box = await Box(world, DEVICE).register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    (opened,) = (await box.sync()).tasks
    served = GrpcGate(world, Peers(world.roll, certified=False))

    async def cancel() -> None:
        await runs.cancel(world, run.id)

    def fill(full: bool) -> None:
        served.uploads = 0 if full else 1

    async with AsyncExitStack() as server:
        port = await server.enter_async_context(gate.serve(served, "127.0.0.1", 0, grace_s=0))
        async with open_uplink(Address("127.0.0.1", port), DEVICE, Gullible(), patience_s=10.0) as uplink:
            base = await read_blob(world, opened.base)
            yield Target(uplink, opened, base, unscripted, cancel, fill, server.aclose)


@pytest.fixture(params=[scripted, stand_in, control_plane])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Target]:
    """Each implementation."""
    opener: Callable[[Path], AbstractAsyncContextManager[Target]] = request.param
    async with opener(tmp_path) as opened:
        yield opened


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """A spooled delta."""
    path = tmp_path / "t.delta"
    path.write_bytes(DELTA)
    return path


def write(path: Path, data: bytes) -> None:
    """Let a delta be these bytes."""
    path.write_bytes(data)


def remove(path: Path) -> None:
    """Let a delta be lost."""
    path.unlink()


def never(sent: int) -> None:
    """Hear of bytes where none should be sent."""
    raise AssertionError(f"{sent} bytes were sent")


def ignore(sent: int) -> None:
    """Hear of bytes."""


async def test_sync_says_what_to_hold_until_its_end_is_reported(target: Target) -> None:
    """The open task as often as asked; not any more in the answer to the Sync that carries its report."""
    for _ in range(2):
        target.script(SyncAnswer(1, 1_000_000, 1, False, (target.task,), (), 30))
        assert (await target.uplink.sync(target.request())).tasks == (target.task,)
    target.script(SyncAnswer(2, 1_000_000, 1, False, (), (), 30))
    report = TaskReport(target.task.id, Failed("it broke"))
    answer = await target.uplink.sync(target.request(report))
    assert (answer.tasks, answer.heartbeat_s > 0, answer.server_time_ms > 0) == ((), True, True)


async def test_a_blob_comes_in_chunks_from_any_offset(target: Target) -> None:
    """The rest of it, however much that is."""
    for offset in (0, 1, len(target.base) - 1, len(target.base)):
        chunks = await target.fetched(target.task.base, offset)
        assert b"".join(chunks) == target.base[offset:]
        assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)


async def test_what_can_not_be_fetched_is_gone_or_is_asked_for_again(target: Target) -> None:
    """No such blob is final; an offset that no blob of this digest has may be the fault of what lies here."""
    with pytest.raises(Gone):
        await target.fetched(Blob(Digest("0" * 64), 7))
    with pytest.raises(Unavailable):
        await target.fetched(target.task.base, len(target.base) + 1)


async def test_a_fetch_may_be_left_half_way(target: Target) -> None:
    """The next call does not suffer from it."""
    async with aclosing(target.uplink.fetch(target.task.base.digest, 0)) as chunks:
        assert target.base.startswith(await anext(chunks))
    assert b"".join(await target.fetched(target.task.base)) == target.base


async def test_a_delta_is_sent_once_and_receipted_as_often_as_offered(target: Target, delta: Path) -> None:
    """With its progress up to the last byte; the receipt for a copy, or for another delta, is that of what counts."""
    committed = Receipt(ReceiptKind.COMMITTED, digests.of_bytes(DELTA).digest)
    sent: list[int] = []
    target.script(committed)
    assert await target.uplink.upload(target.offer(), delta, sent.append) == committed
    assert sent == sorted(set(sent)) and sent[-1] == len(DELTA)
    for data in (DELTA, RETRAINED):
        target.script(committed)
        assert await target.uplink.upload(target.offer(data), delta, never) == committed


@pytest.mark.parametrize("data", [DELTA[:-1], DELTA[:-1] + b"?", b""], ids=["cut", "flipped", "empty"])
async def test_what_is_not_the_offered_delta_is_not_committed(target: Target, delta: Path, data: bytes) -> None:
    """It may be offered again; another one, trained anew meanwhile, does not go on where this one stopped."""
    write(delta, data)
    target.script(Receipt(ReceiptKind.COMMITTED, digests.of_bytes(RETRAINED).digest))
    with pytest.raises(Unavailable):
        await target.uplink.upload(target.offer(), delta, ignore)
    write(delta, RETRAINED)
    receipt = await target.uplink.upload(target.offer(RETRAINED), delta, ignore)
    assert receipt == Receipt(ReceiptKind.COMMITTED, digests.of_bytes(RETRAINED).digest)


async def test_who_sends_is_asked_first_and_may_put_it_off(target: Target, delta: Path) -> None:
    """Once the control plane wants bytes, before the first goes, and not for a mere receipt."""
    committed, asked = Receipt(ReceiptKind.COMMITTED, digests.of_bytes(DELTA).digest), list[str]()

    async def no() -> None:
        raise PutOff("tomorrow")

    async def yes() -> None:
        asked.append("yes")

    target.script(committed)
    with pytest.raises(PutOff):
        await target.uplink.upload(target.offer(), delta, never, no)
    for _ in range(2):
        target.script(committed)
        assert await target.uplink.upload(target.offer(), delta, ignore, yes) == committed
    assert asked == ["yes"]


async def test_a_delta_that_can_not_be_read_is_an_error_of_this_box(target: Target, delta: Path) -> None:
    """An OSError, not trouble with the control plane: that takes the delta when it is there again."""
    remove(delta)
    target.script(Receipt(ReceiptKind.COMMITTED, digests.of_bytes(DELTA).digest))
    with pytest.raises(FileNotFoundError):
        await target.uplink.upload(target.offer(), delta, ignore)
    write(delta, DELTA)
    assert (await target.uplink.upload(target.offer(), delta, ignore)).kind is ReceiptKind.COMMITTED


async def test_a_final_answer_that_is_not_a_commit_is_a_receipt_too(target: Target, delta: Path) -> None:
    """It is returned with its reason, not raised, and comes before any byte was sent."""
    target.script(Receipt(ReceiptKind.REFUSED, reason="there is no such task"))
    unknown = replace(target.offer(), task=TaskId("of-nobody"))
    assert (await target.uplink.upload(unknown, delta, never)).kind is ReceiptKind.REFUSED
    await target.cancel()
    target.script(Receipt(ReceiptKind.CANCELLED, reason="it is over"))
    receipt = await target.uplink.upload(target.offer(), delta, never)
    assert receipt.kind is ReceiptKind.CANCELLED and receipt.reason


async def test_a_busy_server_says_when_to_come_back(target: Target, delta: Path) -> None:
    """In seconds, before any byte; whoever comes back is served."""
    target.fill(True)
    with pytest.raises(Unavailable) as caught:
        await target.uplink.upload(target.offer(), delta, never)
    assert caught.value.retry_after_s and 0 < caught.value.retry_after_s < 60
    target.fill(False)
    target.script(Receipt(ReceiptKind.COMMITTED, digests.of_bytes(DELTA).digest))
    assert (await target.uplink.upload(target.offer(), delta, ignore)).kind is ReceiptKind.COMMITTED


async def test_a_server_that_is_not_there_is_unavailable(target: Target, delta: Path) -> None:
    """For every call alike, and without a wish."""
    await target.shut()
    target.script(Unavailable("UNAVAILABLE: connection refused"))
    with pytest.raises(Unavailable) as caught:
        await target.uplink.sync(target.request())
    assert caught.value.retry_after_s is None
    with pytest.raises(Unavailable):
        await target.fetched(target.task.base)
    with pytest.raises(Unavailable):
        await target.uplink.upload(target.offer(), delta, ignore)
