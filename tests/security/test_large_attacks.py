"""Attacks by the large: every server refuses it, by its limits, and goes on serving others."""

import gzip
import json
import zlib

import grpc.aio
import pytest
from headwater_control.edges.broker.fields import varint
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.reasons import Reason
from headwater_control.gates.http.guard import JSON_LIMIT_BYTES
from headwater_wire import topics
from headwater_wire.v1 import enrolment_pb2 as enrol_pb
from headwater_wire.v1 import gateway_pb2 as pb

from tests.control_plane.broker.raw_client import connected
from tests.support.front import ME, Front, ended_after
from tests.support.stronghold import PATIENCE_S

PACKED = {  # b"{}"
    "gzip": gzip.compress(b"{}"),
    "deflate": zlib.compress(b"{}"),
    "br": b"\x8b\x00\x80{}\x03",  # RFC 7932: two bytes stored, and the end
    "zstd": b"(\xb5/\xfd\x20\x02\x11\x00\x00{}",  # RFC 8878: one raw block of two bytes, the last
}


@pytest.mark.parametrize("size", [262_145, 1 << 20, 268_435_455])
async def test_a_large_mqtt_packet_is_refused_by_its_header(front: Front, size: int) -> None:
    """Before its body is waited for, be it the first packet or a later one."""
    async with connected(front.held.broker.port, ME, tls=front.me.tls) as (client, _):
        await client.send_bytes(b"\x32" + varint(size))
        assert await client.ending() == Reason.PACKET_TOO_LARGE
    lasted = await ended_after(front.held.broker.port, front.me.tls, b"\x10" + varint(size))
    assert lasted < Limits().connect_s, "by its size, not by its slowness"


async def test_large_topics_and_ids_are_refused(front: Front) -> None:
    """Long ones, deep ones, many of them, each by its own limit; the broker goes on."""
    port = front.held.broker.port
    own = topics.down_filter(ME)
    for length, reason in ((256, Reason.NOT_AUTHORIZED), (257, Reason.CLIENT_ID_NOT_VALID)):
        assert await front.held.connects(front.me, "x" * length) == reason
    async with connected(port, ME, tls=front.me.tls) as (client, _):
        for topic in ("/" * 60_000, "hw/v1/d/box-1/up/" + "x/" * 100):
            assert await client.publish(topic) == Reason.TOPIC_NAME_INVALID
            assert await client.subscribe(topic) == (Reason.TOPIC_FILTER_INVALID,)
        assert await client.publish("x" * 65_535) == Reason.NOT_AUTHORIZED
        assert await client.subscribe("x" * 65_535) == (Reason.NOT_AUTHORIZED,)
        reasons = await client.subscribe(*(f"$share/{number}/{own}" for number in range(150)))
        assert reasons.count(1) == Limits().subscriptions
        assert set(reasons) == {1, Reason.QUOTA_EXCEEDED}
    await front.serves_others()


def refusal(compression: grpc.Compression) -> str:
    """Say with which status a large message is refused."""
    return "RESOURCE_EXHAUSTED" if compression is grpc.Compression.NoCompression else "UNIMPLEMENTED"


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
@pytest.mark.parametrize("size", [2 << 20, 64 << 20])
async def test_a_large_message_to_the_gateway_is_refused(
    front: Front, size: int, compression: grpc.Compression
) -> None:
    """Also one that is small only as long as it is compressed (RFC 1951 shrinks zeros a thousandfold): no such is."""
    async with front.held.calling(front.me) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Sync(
                pb.SyncRequest(device=ME, hello_hash="0" * size), timeout=PATIENCE_S, compression=compression
            )
    assert caught.value.code().name == refusal(compression)
    await front.serves_others()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize("field", ["secret", "csr"])
async def test_a_large_message_of_a_stranger_is_refused(
    front: Front, field: str, compression: grpc.Compression
) -> None:
    """The enrolment service takes 64 KiB, and nothing that is compressed."""
    message = enrol_pb.EnrollRequest(**{field: bytes(4 << 20)})  # type: ignore[arg-type]
    assert (await front.enrol("Enroll", message, compression=compression))[0] == refusal(compression)
    await front.serves_others()


async def test_large_metadata_is_refused(front: Front) -> None:
    """A megabyte of headers on a call ends the call, and nothing else."""
    status, _ = await front.enrol("Anchors", enrol_pb.AnchorsRequest(), metadata=[("x", "y" * 1_000_000)])
    assert status == "RESOURCE_EXHAUSTED"
    await front.serves_others()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 1_000_000,
        b"GET /" + b"y" * 1_000_000,
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 100_000,
        b"\0" * 100_000,
        b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"f" * 20
        + b"\r\n",
        b"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
    ],
    ids=["header", "path", "headers", "binary", "huge length", "negative length", "two framings", "two lengths"],
)
async def test_large_and_crooked_requests_are_refused(front: Front, request_: bytes) -> None:
    """With 4xx, or by the end of the connection."""
    status, _ = await front.says(request_)
    assert status == 0 or 400 <= status < 500
    await front.serves_others()


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/invites", "/v1/tokens"])
async def test_large_and_deep_bodies_are_refused(front: Front, path: str) -> None:
    """Beyond the limit, nested a hundred thousand times, with a number of a million digits: for that, and no 5xx."""
    deep = b"[" * 100_000 + b"]" * 100_000
    for body in (
        b" " * (JSON_LIMIT_BYTES + 1), deep, b'{"a":' * 100_000, b"9" * 1_000_000, b'"' + b"x" * 1_000_000 + b'"',
        b"\xff\xfe" * 1000, b'{"uses": 1e999999}',
    ):  # fmt: skip
        status, answer = await front.post(path, body)
        assert status in {400, 413, 422}, answer[:500]


async def test_a_chunked_body_is_counted_too(front: Front) -> None:
    """Without a length in advance it ends where the limit is."""
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    head = f"POST /v1/runs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {front.token}\r\n".encode()
    head += b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    status, _ = await front.says(head + chunk * 20)
    assert status == 413


@pytest.mark.parametrize("coding", PACKED)
async def test_an_http_body_is_not_unpacked(front: Front, coding: str) -> None:
    """What is fine in plain is no JSON in a Content-Encoding: so no bomb gets larger than it came."""
    assert (await front.post("/v1/invites", b"{}"))[0] == 201
    status, answer = await front.post("/v1/invites", PACKED[coding], f"content-encoding: {coding}")
    assert status in {400, 422}, answer[:500]


@pytest.mark.parametrize(
    "invite",
    [
        {"labels": {f"k{number}": "v" for number in range(51)}},
        {"labels": {"k" * 65: "v"}},
        {"labels": {"k": "v" * 65}},
        {"labels": {"../k": "v"}},
        {"labels": {"k": "a/b"}},
        {"device": "../box"},
        {"device": "x" * 65},
        {"host": "h" * 254},
        {"uses": 10**30},
        {"ttl_s": 1e300},
    ],
    ids=lambda invite: json.dumps(invite)[:30],
)
async def test_large_and_crooked_invitations_are_refused(front: Front, invite: dict[str, object]) -> None:
    """Labels, names, counts and times have bounds, and nothing is kept of what is beyond."""
    status, answer = await front.post("/v1/invites", json.dumps(invite).encode())
    assert status == 422, answer[:500]
    async with front.held.world.store.read() as tx:
        assert len(await tx.invites.all()) == 1, "the one that box-1 came by"


async def test_an_invitation_within_its_bounds_is_made(front: Front) -> None:
    """As large as it may be: so it was for what was beyond that the others were refused."""
    labels = {f"k{number:063}": "v" * 64 for number in range(50)}
    for invite in ({"device": "x" * 64, "labels": labels}, {"uses": 100_000, "ttl_s": 30 * 86_400.0}):
        status, answer = await front.post("/v1/invites", json.dumps(invite).encode())
        assert status == 201, answer[:500]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/devices/..%2f..%2fetc%2fpasswd",
        "/v1/devices/%2e%2e/disable",
        "/v1/runs/..%00",
        "/v1/versions/..%2f..%2fca%2froot.key",
        "/v1/versions/../../ca/root.key",
        "/v1/versions/%5c..%5cx/onnx",
        "//etc/passwd",
        "/v1/models/..%2fx",
    ],
)
async def test_no_path_leads_out_of_the_api(front: Front, path: str) -> None:
    """Names in URLs are names: no key, no file, and no failure of ours."""
    head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {front.token}\r\n\r\n"
    status, answer = await front.says(head.encode())
    assert 400 <= status < 500, answer[:300]
    assert b"PRIVATE KEY" not in answer
    assert b"root:" not in answer
