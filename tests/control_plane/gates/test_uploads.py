"""Deltas that come over gRPC: resumed, refused, too many, too slow."""

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import pytest
from headwater_control.gates import grpc as gate
from headwater_control.gates.grpc import GrpcGate, Patience
from headwater_control.gates.lifetime import Lifetime
from headwater_control.service import runs
from headwater_wire import convert, digests, exchange
from headwater_wire.admission import RETRY_DELAY
from headwater_wire.messages import Blob, Metrics, Offer, Receipt, ReceiptKind, SyncRequest
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1.gateway_pb2_grpc import GatewayStub

from tests.control_plane.gates.conftest import Training
from tests.control_plane.gates.gateway import (
    DEADLINE_S,
    DELTA,
    EOF,
    PIECE,
    Code,
    calling,
    failure,
    offered,
    open_peers,
    opened,
    upload,
)
from tests.fakes.world import METRICS, read_blob


async def test_an_uploaded_delta_is_committed_and_counted_once(training: Training, stub: Any) -> None:
    """The receipt is COMMITTED with the digest, the blob is there, and a second upload gets the first one's receipt."""
    first = await upload(stub, training.box.offer(training.task, DELTA), DELTA)
    assert first == Receipt(ReceiptKind.COMMITTED, digests.of_bytes(DELTA).digest)
    assert await read_blob(training.world, digests.of_bytes(DELTA)) == DELTA
    other = DELTA[::-1]
    assert await upload(stub, training.box.offer(training.task, other), other) == first
    view = await runs.show_run(training.world, training.run)
    assert [(task.bytes_up, task.metrics) for task in view.rounds[0].tasks] == [(len(DELTA), METRICS)]


async def test_a_broken_upload_is_resumed_where_it_ended(training: Training, stub: Any) -> None:
    """After a hang-up in mid-upload the next offer is answered with what has arrived, and the rest is enough."""
    offer = training.box.offer(training.task, DELTA)
    call = await opened(stub, offered(offer))
    assert (await call.read()).resume_at == 0
    await call.write(pb.UploadPart(chunk=DELTA[:PIECE]))
    await call.done_writing()
    error = await failure(call)
    assert error.code() is Code.CANCELLED
    assert "resume" in (error.details() or "")
    call = await opened(stub, offered(offer))
    assert (await call.read()).resume_at == PIECE
    await call.write(pb.UploadPart(chunk=DELTA[PIECE:]))
    assert (await call.read()).receipt.kind == pb.COMMITTED


async def test_an_upload_is_not_disturbed_by_its_connections_age(training: Training) -> None:
    """What is under way when a connection has grown old is finished in it; the next call makes another one."""
    lifetime = Lifetime(age_s=0.3, grace_s=3600.0, idle_s=3600.0)
    served = gate.serve(GrpcGate(training.world, open_peers()), "127.0.0.1", 0, grace_s=0.1, lifetime=lifetime)
    async with served as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = GatewayStub(channel)  # type: ignore[no-untyped-call]
        call = await opened(stub, offered(training.box.offer(training.task, DELTA)))
        assert (await call.read()).resume_at == 0
        async with asyncio.timeout(DEADLINE_S):
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)  # told to go away (GOAWAY)
        await call.write(pb.UploadPart(chunk=DELTA))
        assert (await call.read()).receipt.kind == pb.COMMITTED
        await stub.Sync(exchange.sync_to(SyncRequest(training.box.id, epoch=1, revision=0)), timeout=DEADLINE_S)


async def test_an_upload_beyond_its_connections_age_and_grace_is_resumed(training: Training) -> None:
    """So slow a one is cut, and goes on where it was."""
    lifetime = Lifetime(age_s=0.3, grace_s=0.1, idle_s=3600.0)
    served = gate.serve(GrpcGate(training.world, open_peers()), "127.0.0.1", 0, grace_s=0.1, lifetime=lifetime)
    async with served as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = GatewayStub(channel)  # type: ignore[no-untyped-call]
        offer = training.box.offer(training.task, DELTA)
        call = await opened(stub, offered(offer))
        assert (await call.read()).resume_at == 0
        await call.write(pb.UploadPart(chunk=DELTA[:PIECE]))
        assert (await failure(call)).code() is Code.UNAVAILABLE
        again = await opened(stub, offered(offer))
        assert (await again.read()).resume_at == PIECE
        await again.write(pb.UploadPart(chunk=DELTA[PIECE:]))
        assert (await again.read()).receipt.kind == pb.COMMITTED


async def test_a_newer_upload_ends_an_older_one_of_the_same_task(training: Training, stub: Any) -> None:
    """An agent that lost its connection and comes back need not wait until the server notices."""
    offer = training.box.offer(training.task, DELTA)
    older = await opened(stub, offered(offer))
    assert (await older.read()).resume_at == 0
    assert (await upload(stub, offer, DELTA)).kind is ReceiptKind.COMMITTED
    await older.write(pb.UploadPart(chunk=DELTA[:PIECE]))
    assert (await failure(older)).code() is Code.CANCELLED


async def test_damaged_bytes_are_discarded_and_asked_for_again(training: Training, stub: Any) -> None:
    """A wrong digest ABORTs; the same offer then starts at 0 and succeeds."""
    offer = training.box.offer(training.task, DELTA)
    call = await opened(stub, offered(offer))
    await call.read()
    await call.write(pb.UploadPart(chunk=b"\xff" + DELTA[1:]))
    error = await failure(call)
    assert error.code() is Code.ABORTED
    assert "SHA-256" in (error.details() or "")
    assert (await upload(stub, offer, DELTA)).kind is ReceiptKind.COMMITTED


async def test_more_bytes_than_offered_are_an_error(training: Training, stub: Any) -> None:
    """A chunk beyond the announced size ABORTs the call, and what came before it can be resumed."""
    offer = training.box.offer(training.task, DELTA)
    call = await opened(stub, offered(offer))
    await call.read()
    await call.write(pb.UploadPart(chunk=DELTA + b"x"))
    assert (await failure(call)).code() is Code.ABORTED
    assert (await upload(stub, offer, DELTA)).kind is ReceiptKind.COMMITTED


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([], "begins with an offer"),
        ([pb.UploadPart(chunk=b"abc")], "begins with an offer"),
        ([pb.UploadPart()], "begins with an offer"),
        ([pb.UploadPart(offer=pb.Offer(device="../x"))], "is not a name"),
        ([pb.UploadPart(offer=pb.Offer(device="box-1", task="t"))], "SHA-256"),
    ],
)
async def test_what_is_no_offer_is_refused(stub: Any, parts: list[pb.UploadPart], sentence: str) -> None:
    """Nothing, a chunk, an empty part or a malformed offer is INVALID_ARGUMENT with the reason."""
    call = stub.UploadDelta(timeout=DEADLINE_S)
    for part in parts:
        await call.write(part)
    await call.done_writing()
    error = await failure(call)
    assert (error.code(), sentence in (error.details() or "")) == (Code.INVALID_ARGUMENT, True)


@pytest.mark.parametrize("second", ["offer", "empty"])
async def test_after_the_offer_only_chunks_are_taken(training: Training, stub: Any, second: str) -> None:
    """A second offer, or a chunk without bytes that would go on for ever, is INVALID_ARGUMENT."""
    offer = training.box.offer(training.task, DELTA)
    call = await opened(stub, offered(offer))
    await call.read()
    await call.write(offered(offer) if second == "offer" else pb.UploadPart(chunk=b""))
    assert (await failure(call)).code() is Code.INVALID_ARGUMENT


async def test_a_delta_that_is_too_large_for_the_model_is_refused_unseen(training: Training, stub: Any) -> None:
    """The final receipt comes before any byte, and the task says why."""
    huge = Offer(training.box.id, training.task.id, Blob(digests.of_bytes(b"").digest, 10**12), "f32", METRICS)
    receipt = await upload(stub, huge, b"")
    assert receipt.kind is ReceiptKind.REFUSED
    assert "bytes" in receipt.reason


async def test_a_delta_of_another_device_or_an_unknown_task_is_refused(training: Training, stub: Any) -> None:
    """Final, so that the agent deletes its spool; the true owner can still upload."""
    offer = training.box.offer(training.task, DELTA)
    for device, task in (("box-2", offer.task), ("box-1", "task-of-nobody")):
        stolen = pb.Offer(device=device, task=task, delta=convert.blob_to(offer.delta), codec="f32")
        stolen.metrics.CopyFrom(convert.metrics_to(Metrics(examples=1)))
        call = await opened(stub, pb.UploadPart(offer=stolen))
        assert (await call.read()).receipt.kind == pb.REFUSED
    assert (await upload(stub, offer, DELTA)).kind is ReceiptKind.COMMITTED


async def test_a_cancelled_run_takes_no_delta(training: Training, stub: Any) -> None:
    """The receipt is CANCELLED, before any byte."""
    await runs.cancel(training.world, training.run)
    assert (await upload(stub, training.box.offer(training.task, DELTA), b"")).kind is ReceiptKind.CANCELLED


async def test_an_upload_that_falls_silent_is_ended(training: Training) -> None:
    """A client that sends nothing for the time allowed gets DEADLINE_EXCEEDED, and its slot is free again."""
    async with calling(GrpcGate(training.world, open_peers(), uploads=1, patience=Patience(part_s=0.05))) as stub:
        for parts in ([offered(training.box.offer(training.task, DELTA))], []):
            call = stub.UploadDelta(timeout=DEADLINE_S)
            for part in parts:
                await call.write(part)
            error = await failure(call)
            assert error.code() is Code.DEADLINE_EXCEEDED
            assert "nothing moved" in (error.details() or "")  # ours, not the client's own deadline


async def test_an_upload_that_only_trickles_is_ended(training: Training) -> None:
    """A client that sends a byte now and then does not keep its slot: it goes on later, from where it was."""
    patience = Patience(part_s=0.2, least_bytes_per_s=1e9)
    async with calling(GrpcGate(training.world, open_peers(), patience=patience)) as stub:
        offer = training.box.offer(training.task, DELTA)
        call = await opened(stub, offered(offer))
        assert (await call.read()).resume_at == 0
        ended = asyncio.create_task(failure(call))
        while not ended.done():
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(pb.UploadPart(chunk=DELTA[:1]))
            await asyncio.sleep(0.02)
        assert (await ended).code() is Code.DEADLINE_EXCEEDED


async def test_too_many_uploads_are_told_when_to_come_back(training: Training) -> None:
    """Beyond the limit: RESOURCE_EXHAUSTED with a delay; once a slot is free, the next one gets it."""
    async with calling(GrpcGate(training.world, open_peers(), uploads=1)) as stub:
        offer = training.box.offer(training.task, DELTA)
        call = await opened(stub, offered(offer))
        await call.read()
        error = await failure(await opened(stub, offered(offer)))
        assert error.code() is Code.RESOURCE_EXHAUSTED
        metadata: Any = error.trailing_metadata()
        (delay_ms,) = [value for key, value in metadata if key == RETRY_DELAY]
        assert 0 < int(delay_ms) < 60_000
        await call.write(pb.UploadPart(chunk=DELTA))
        assert (await call.read()).receipt.kind == pb.COMMITTED
        assert await call.read() is EOF
        assert (await upload(stub, offer, DELTA)).kind is ReceiptKind.COMMITTED


async def test_a_client_that_hangs_up_frees_its_slot(training: Training) -> None:
    """A call that is cancelled by its client leaves nothing behind."""
    async with calling(GrpcGate(training.world, open_peers(), uploads=1)) as stub:
        offer = training.box.offer(training.task, DELTA)
        call = await opened(stub, offered(offer))
        await call.read()
        call.cancel()
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    receipt = await upload(stub, offer, DELTA)
                    break
                except grpc.aio.AioRpcError as error:
                    assert error.code() is Code.RESOURCE_EXHAUSTED
                    await asyncio.sleep(0)
        assert receipt.kind is ReceiptKind.COMMITTED
