"""Attacks on what a box is sent when it asks: blobs and answers to Sync. Each test is one, and shows that it fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc.aio
import pytest
from headwater_agent.edges.cache import FolderCache
from headwater_agent.edges.trust import Trust
from headwater_agent.edges.uplink import GrpcUplink
from headwater_agent.ports import Unavailable
from headwater_wire.messages import Blob, SyncRequest
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as pb

from tests.fakes.agent_bundle import DEVICE, task
from tests.fakes.agent_gateway import ScriptedGateway, serving
from tests.support.orders import HONEST, OTHER, assign, signed
from tests.support.signing import STRANGER, trust


class Tampering(ScriptedGateway):
    """Sends other bytes under a digest than its own."""

    def swap(self, blob: Blob, data: bytes) -> None:
        """Put them in its place."""
        self.blobs[blob.digest] = data


@asynccontextmanager
async def uplink(gateway: ScriptedGateway, by: Trust | None = None) -> AsyncIterator[GrpcUplink]:
    """Serve a gateway, and connect to it."""
    async with serving(gateway) as port:
        made = GrpcUplink(lambda: grpc.aio.insecure_channel(f"127.0.0.1:{port}"), DEVICE, by or trust())
        try:
            yield made
        finally:
            await made.close()


def kept(folder: Path) -> int:
    """Count the bytes in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir())


@pytest.mark.parametrize(
    "data",
    [b"a model with a hole", b"", b"x" * 11, b"x" * 13, b"x" * 5_000_000],
    ids=["other", "empty", "short", "long", "endless"],
)
async def test_a_tampered_blob_never_reaches_the_cache(tmp_path: Path, data: bytes) -> None:
    """Of the same length, shorter, longer or endless: it is not used, and the true one is, as soon as it comes."""
    gateway = Tampering()
    true = gateway.put(b"a true model"[:12])
    gateway.swap(true, data)
    async with uplink(gateway) as up:
        cache = FolderCache(tmp_path, up)
        with pytest.raises(Unavailable):
            await cache.get(true, durably=True)
        assert not (tmp_path / true.digest).exists()
        assert kept(tmp_path) <= true.size
        gateway.blobs[true.digest] = b"a true model"
        for _ in range(2):  # what is left of the false one may cost one more attempt
            try:
                path = await cache.get(true, durably=True)
            except Unavailable:
                continue
            break
        assert path.read_bytes() == b"a true model"


@dataclass
class Hostile(ScriptedGateway):
    """Answers every Sync with an order of its own."""

    told: fleet.SignedOrder = field(default_factory=fleet.SignedOrder)

    async def Sync(self, request: pb.SyncRequest, context: object) -> pb.SyncResponse:  # noqa: N802
        """Tell it."""
        return pb.SyncResponse(revision=2**60, server_time_ms=1, heartbeat_s=1, orders=[self.told])


@pytest.mark.parametrize(
    ("told", "because"),
    [
        (signed(assign(), STRANGER), "not signed as it should be"),
        (fleet.SignedOrder(order=HONEST.order), "not signed as it should be"),
        (signed(assign(given=replace(task(), device=OTHER))), "makes no sense"),
    ],
    ids=["a stranger's", "unsigned", "another box's"],
)
async def test_an_answer_to_sync_that_is_forged_is_none(told: fleet.SignedOrder, because: str) -> None:
    """Whoever holds the gateway's address, and has not the signing key, can't order anything either."""
    async with uplink(Hostile(told=told)) as up:
        with pytest.raises(Unavailable, match=because):
            await up.sync(SyncRequest(DEVICE, 1, 0))
