"""A client of the gRPC gate, over loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from headwater_control.gates import grpc as gate
from headwater_control.gates.grpc import GrpcGate
from headwater_control.gates.peers import Peers
from headwater_control.service.roll import Roll
from headwater_wire import convert
from headwater_wire.messages import Offer, Receipt
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1.gateway_pb2_grpc import GatewayStub

Code = grpc.StatusCode
DELTA = bytes(range(256)) * 200  # 51,200 bytes: several chunks of the size used here
PIECE = 16_000
DEADLINE_S = 10.0
EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the stubs


@asynccontextmanager
async def calling(served: GrpcGate) -> AsyncIterator[Any]:
    """Serve on a free port, and give a client."""
    async with (
        gate.serve(served, "127.0.0.1", 0, grace_s=0.1) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield GatewayStub(channel)  # type: ignore[no-untyped-call]


def open_peers() -> Peers:
    """Believe what a call says of itself, as on loopback without TLS."""
    return Peers(Roll(), certified=False)


def offered(offer: Offer) -> pb.UploadPart:
    """Wrap an offer."""
    return pb.UploadPart(offer=convert.offer_to(offer))


async def opened(stub: Any, part: pb.UploadPart) -> Any:
    """Begin an upload with a part."""
    call = stub.UploadDelta(timeout=DEADLINE_S)
    await call.write(part)
    return call


async def upload(stub: Any, offer: Offer, data: bytes) -> Receipt:
    """Upload from where the server says, as an agent does."""
    call = await opened(stub, offered(offer))
    reply = await call.read()
    if reply.WhichOneof("reply") == "receipt":
        return convert.receipt_from(reply.receipt)
    for start in range(reply.resume_at, len(data), PIECE):
        await call.write(pb.UploadPart(chunk=data[start : start + PIECE]))
    receipt = (await call.read()).receipt
    await call.done_writing()
    return convert.receipt_from(receipt)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """Read until the call fails; return how."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await call.read() is not EOF:
            pass
        await call
    assert isinstance(caught.value, grpc.aio.AioRpcError)
    return caught.value


async def fetch(stub: Any, box: str, digest: str, offset: int = 0) -> bytes:
    """Fetch to the end."""
    call = stub.Fetch(pb.FetchRequest(device=box, digest=digest, offset=offset), timeout=DEADLINE_S)
    return b"".join([chunk.data async for chunk in call])
