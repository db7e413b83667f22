"""The gRPC gate against a real client over loopback: fetches, syncs, and what holds for every call."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.gates import grpc as gate
from headwater_control.gates.grpc import GrpcGate
from headwater_control.service import runs
from headwater_wire import exchange
from headwater_wire.ids import Digest
from headwater_wire.messages import SyncRequest
from headwater_wire.signing import parse_order
from headwater_wire.v1 import gateway_pb2 as pb

from tests.control_plane.gates.conftest import Training
from tests.control_plane.gates.gateway import (
    DEADLINE_S,
    Code,
    calling,
    fetch,
    open_peers,
)
from tests.fakes.world import read_blob
from tests.support.waiting import until


class Held(FolderBlobs):
    """Blobs that nobody gets before the end."""

    reading = 0

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.over = asyncio.Event()

    async def read(self, digest: Digest, offset: int = 0) -> AsyncIterator[bytes]:
        """Wait, then give the bytes."""
        self.reading += 1
        await self.over.wait()
        async for chunk in super().read(digest, offset):
            yield chunk


async def test_one_device_does_not_take_all_the_places_for_fetches(training: Training, tmp_path: Path) -> None:
    """Its fifth is told to come back while there still is a place, which is another's."""
    blobs = Held(tmp_path / "blobs")
    world = replace(training.world, blobs=blobs)
    async with calling(GrpcGate(world, open_peers(), fetches=5)) as stub:
        digest = training.task.bundle.digest
        fetches = [asyncio.create_task(fetch(stub, "box-1", digest)) for _ in range(4)]
        await until(lambda: blobs.reading == 4, "four are under way")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fetch(stub, "box-1", digest)
        assert caught.value.code() is Code.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fetch(stub, "box-2", digest)
        assert caught.value.code() is Code.NOT_FOUND  # it got as far as to the question whether the blob is its own
        blobs.over.set()
        whole = await read_blob(world, training.task.bundle)
        assert [*await asyncio.gather(*fetches), await fetch(stub, "box-1", digest)] == [whole] * 5


@pytest.mark.parametrize("offset", [0, 3])
async def test_a_blob_is_fetched_from_an_offset(training: Training, stub: Any, offset: int) -> None:
    """The bytes from there to the end arrive, and are counted for the task."""
    whole = await read_blob(training.world, training.task.bundle)
    assert await fetch(stub, "box-1", training.task.bundle.digest, offset) == whole[offset:]
    view = await runs.show_run(training.world, training.run)
    assert view.rounds[0].tasks[0].bytes_down == len(whole) - offset


@pytest.mark.parametrize(
    ("device", "digest", "offset", "code"),
    [
        ("box-1", "0" * 64, 0, Code.NOT_FOUND),
        ("box-2", "", 0, Code.NOT_FOUND),
        ("box-1", "", 10**9, Code.OUT_OF_RANGE),
        ("box-1", "../../etc/passwd", 0, Code.INVALID_ARGUMENT),
        ("", "0" * 64, 0, Code.INVALID_ARGUMENT),
    ],
)
async def test_what_is_not_the_devices_to_fetch_is_refused(
    training: Training, stub: Any, device: str, digest: str, offset: int, code: grpc.StatusCode
) -> None:
    """Unknown blobs, others' blobs, offsets beyond the end and names that are none have each their status."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fetch(stub, device, digest or training.task.bundle.digest, offset)
    assert caught.value.code() is code


async def test_sync_answers_what_to_hold(training: Training, stub: Any) -> None:
    """The open task comes back, as often as asked."""
    request = exchange.sync_to(SyncRequest(training.box.id, epoch=1, revision=0))
    for _ in range(2):
        response = await stub.Sync(request, timeout=DEADLINE_S)
        answer = exchange.answer_from(response, parse_order, training.box.id)
        assert [task.id for task in answer.tasks] == [training.task.id]


async def test_a_malformed_sync_is_refused_with_the_reason(stub: Any) -> None:
    """INVALID_ARGUMENT names the field."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Sync(pb.SyncRequest(device="no name"), timeout=DEADLINE_S)
    assert caught.value.code() is Code.INVALID_ARGUMENT
    assert "device 'no name' is not a name" in (caught.value.details() or "")


async def test_what_is_compressed_is_refused(training: Training, stub: Any) -> None:
    """A little of it would be much: what has come and what is taken could not be compared (gates/halves.py)."""
    request = exchange.sync_to(SyncRequest(training.box.id, epoch=1, revision=0))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Sync(request, timeout=DEADLINE_S, compression=grpc.Compression.Gzip)
    assert caught.value.code() is Code.UNIMPLEMENTED


async def test_a_bug_is_told_to_the_log_and_not_to_the_caller(
    training: Training, caplog: pytest.LogCaptureFixture
) -> None:
    """INTERNAL without particulars for the device; the trace for the operator."""
    async with calling(GrpcGate(None, open_peers())) as stub:  # type: ignore[arg-type]  # a gate without a world is broken enough
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Sync(exchange.sync_to(SyncRequest(training.box.id, 1, 0)), timeout=DEADLINE_S)
    assert caught.value.code() is Code.INTERNAL
    assert "NoneType" not in (caught.value.details() or "")
    assert "Sync failed" in caplog.text


async def test_an_address_in_use_is_an_error(training: Training) -> None:
    """A second server on the port is refused, instead of sharing its calls."""
    async with gate.serve(GrpcGate(training.world, open_peers()), "127.0.0.1", 0, grace_s=0) as port:
        with pytest.raises(OSError, match="it is in use"):
            async with gate.serve(GrpcGate(training.world, open_peers()), "127.0.0.1", port):
                pass
