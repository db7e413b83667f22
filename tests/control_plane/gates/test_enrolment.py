"""The way in for strangers, against a real client over TLS: what it gives, and how often one may try."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from headwater_agent.edges.certificates import request
from headwater_control.core.attempts import Attempts, Pace
from headwater_control.edges.ca import embedded
from headwater_control.edges.clock import SystemClock
from headwater_control.gates.enrolment import EnrolmentGate, Places, serve
from headwater_control.service import audit, enrolment, standing
from headwater_control.service.world import World
from headwater_control.tls import ServerTls
from headwater_wire import signing
from headwater_wire.ids import DeviceId
from headwater_wire.v1 import enrolment_pb2 as pb
from headwater_wire.v1.enrolment_pb2_grpc import EnrolmentStub

from tests.fakes.stranger import Stranger
from tests.fakes.world import fake_world
from tests.support.requests import new_key
from tests.support.waiting import until

Code = grpc.StatusCode
DEADLINE_S = 20.0
PLACES = Places(":8445", "broker.example:8883")


@pytest.fixture
def secure(tmp_path: Path) -> World:
    """Put a control plane together by the real clock, which TLS looks at."""
    clock = SystemClock()
    return replace(fake_world(tmp_path), clock=clock, issuer=embedded(tmp_path / "real", clock.now()))


@asynccontextmanager
async def calling(world: World, tmp_path: Path, **gate: Any) -> AsyncIterator[Any]:
    """Serve, and give a client that has no certificate."""
    authority = embedded(tmp_path / "real", world.clock.now())
    credentials = ServerTls(authority, ("127.0.0.1",), world.clock).credentials(clients=False)
    async with AsyncExitStack() as lives:
        served = serve(EnrolmentGate(world, PLACES, **gate), "127.0.0.1", 0, credentials)
        port = await lives.enter_async_context(served)
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(world.issuer.root_pem))
        yield EnrolmentStub(await lives.enter_async_context(channel))  # type: ignore[no-untyped-call]


async def secret(world: World, **how: Any) -> bytes:
    """Make an invitation."""
    return (await enrolment.invite(world, ttl=timedelta(hours=1), **how))[1]


def asking(secret: bytes, device: str = "box-1") -> pb.EnrollRequest:
    """Ask to be let in."""
    return pb.EnrollRequest(secret=secret, device=device, csr=request(new_key()))


async def inside(world: World, name: str) -> Stranger:
    """Let a box in."""
    box = Stranger(world, name)
    await box.enroll(await secret(world))
    return box


def renewing(box: Stranger) -> pb.RenewRequest:
    """Ask for its next certificate."""
    asked = box.renewal()
    return pb.RenewRequest(chain=asked.chain, csr=asked.csr, nonce=asked.nonce, signature=asked.signature)


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """Give what a call was refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def test_an_invited_box_gets_all_it_needs(secure: World, tmp_path: Path) -> None:
    """Id, chain, root, the keys that sign, and where to go; the root is told to anybody."""
    async with calling(secure, tmp_path) as stub:
        told = await stub.Enroll(asking(await secret(secure)), timeout=DEADLINE_S)
        anchors = await stub.Anchors(pb.AnchorsRequest(), timeout=DEADLINE_S)
    assert (told.device, told.gateway, told.broker) == ("box-1", ":8445", "broker.example:8883")
    assert told.root == anchors.root == secure.issuer.root_pem
    signer = secure.keyring.signer(secure.clock.now())
    assert signing.keys_of(told.keys) == {signer.id: signer.public}
    last = (await audit.list_entries(secure, None, 100))[-1]
    assert (last.action, last.who, last.source) == ("device.enroll", "a box", "127.0.0.1")


async def test_a_refusal_has_a_status_and_a_sentence(secure: World, tmp_path: Path) -> None:
    """Of a secret nobody made, of what can't be read, of a renewal that proves nothing."""
    async with calling(secure, tmp_path) as stub:
        found = [
            await refusal(stub.Enroll(asking(bytes(32)), timeout=DEADLINE_S)),
            await refusal(stub.Enroll(asking(b"short"), timeout=DEADLINE_S)),
            await refusal(stub.Enroll(pb.EnrollRequest(), timeout=DEADLINE_S)),
            await refusal(stub.Renew(pb.RenewRequest(), timeout=DEADLINE_S)),
        ]
    assert [error.code() for error in found] == [
        Code.PERMISSION_DENIED,
        Code.INVALID_ARGUMENT,
        Code.INVALID_ARGUMENT,
        Code.PERMISSION_DENIED,
    ]
    assert all(error.details() for error in found)


async def test_who_failed_too_often_has_to_wait_even_with_the_right_secret(secure: World, tmp_path: Path) -> None:
    """Guessing is slow, and tells nothing meanwhile; a nonce is given all the same, for it tells nothing either."""
    good = await secret(secure)
    async with calling(secure, tmp_path, attempts=Attempts(Pace(burst=3, every_s=600.0))) as stub:
        codes = [(await refusal(stub.Enroll(asking(bytes(32)), timeout=DEADLINE_S))).code() for _ in range(3)]
        assert codes == [Code.PERMISSION_DENIED] * 3
        limited = await refusal(stub.Enroll(asking(good), timeout=DEADLINE_S))
        assert limited.code() is Code.RESOURCE_EXHAUSTED
        assert re.search(r"too many failed attempts: try again in (600|5\d\d) s", limited.details() or "")
        await stub.Challenge(pb.ChallengeRequest(), timeout=DEADLINE_S)


async def test_failed_enrolments_hold_no_renewal_up(secure: World, tmp_path: Path) -> None:
    """A renewal has nothing to guess: boxes that share an address with a stranger go on as before."""
    box = await inside(secure, "box-1")
    async with calling(secure, tmp_path, attempts=Attempts(Pace(burst=1, every_s=600.0))) as stub:
        await refusal(stub.Enroll(asking(bytes(32)), timeout=DEADLINE_S))
        assert (await refusal(stub.Enroll(asking(bytes(32)), timeout=DEADLINE_S))).code() is Code.RESOURCE_EXHAUSTED
        assert (await stub.Renew(renewing(box), timeout=DEADLINE_S)).device == "box-1"


async def test_renewals_that_prove_nothing_are_paced_by_address(secure: World, tmp_path: Path) -> None:
    """Beyond its pace no signature is looked at, not even a good one; whoever may enrol is not held up by it."""
    box, good = await inside(secure, "box-1"), await secret(secure)
    async with calling(secure, tmp_path, unproven=Attempts(Pace(burst=3, every_s=600.0))) as stub:
        for _ in range(3):
            forged = renewing(replace(box, key=new_key()))
            assert (await refusal(stub.Renew(forged, timeout=DEADLINE_S))).code() is Code.PERMISSION_DENIED
        assert (await refusal(stub.Renew(renewing(box), timeout=DEADLINE_S))).code() is Code.RESOURCE_EXHAUSTED
        await stub.Enroll(asking(good, "box-2"), timeout=DEADLINE_S)


async def test_who_is_shut_out_holds_up_its_own_renewal_only(secure: World, tmp_path: Path) -> None:
    """It has the key, so that each of its attempts asks the database: it is counted by its certificate."""
    out, box = await inside(secure, "box-out"), await inside(secure, "box-1")
    await standing.disable(secure, DeviceId("box-out"), "stolen")
    async with calling(secure, tmp_path, renewals=Attempts(Pace(burst=2, every_s=600.0))) as stub:
        codes = [(await refusal(stub.Renew(renewing(out), timeout=DEADLINE_S))).code() for _ in range(3)]
        assert codes == [Code.PERMISSION_DENIED, Code.PERMISSION_DENIED, Code.RESOURCE_EXHAUSTED]
        assert (await stub.Renew(renewing(box), timeout=DEADLINE_S)).device == "box-1"


async def test_who_waited_may_try_again(secure: World, tmp_path: Path) -> None:
    """One attempt after each pause."""
    good = await secret(secure)
    async with calling(secure, tmp_path, attempts=Attempts(Pace(burst=1, every_s=0.05))) as stub:
        await refusal(stub.Enroll(asking(bytes(32)), timeout=DEADLINE_S))

        async def let_in() -> bool:
            try:
                await stub.Enroll(asking(good), timeout=DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                assert error.code() is Code.RESOURCE_EXHAUSTED
                return False
            return True

        await until(let_in, "it is let in")


async def test_who_succeeds_may_come_as_often_as_one_likes(secure: World, tmp_path: Path) -> None:
    """A hundred boxes behind one address are no attack."""
    good = await secret(secure, uses=5)
    async with calling(secure, tmp_path, attempts=Attempts(Pace(burst=1, every_s=1e6))) as stub:
        for number in range(5):
            await stub.Enroll(asking(good, f"box-{number}"), timeout=DEADLINE_S)


async def test_what_cannot_be_read_is_paced_like_a_guess(secure: World, tmp_path: Path) -> None:
    """It costs us a look: at a request, a chain of certificates, a name."""
    good = await secret(secure)
    async with calling(secure, tmp_path, attempts=Attempts(Pace(burst=1, every_s=600.0))) as stub:
        nonsense = pb.EnrollRequest(secret=good, device="box-1", csr=b"no request")
        assert (await refusal(stub.Enroll(nonsense, timeout=DEADLINE_S))).code() is Code.INVALID_ARGUMENT
        assert (await refusal(stub.Enroll(asking(good), timeout=DEADLINE_S))).code() is Code.RESOURCE_EXHAUSTED
    async with calling(secure, tmp_path, unproven=Attempts(Pace(burst=1, every_s=600.0))) as stub:
        box = await inside(secure, "box-1")
        odd = renewing(box)
        odd.chain = b"no chain"
        assert (await refusal(stub.Renew(odd, timeout=DEADLINE_S))).code() is Code.INVALID_ARGUMENT
        assert (await refusal(stub.Renew(renewing(box), timeout=DEADLINE_S))).code() is Code.RESOURCE_EXHAUSTED


async def test_too_many_at_once_are_sent_away_with_a_delay(secure: World, tmp_path: Path) -> None:
    """They come back after it; whoever is being served is not disturbed."""
    good = await secret(secure)
    async with calling(secure, tmp_path, at_once=0) as stub:
        full = await refusal(stub.Enroll(asking(good), timeout=DEADLINE_S))
        assert full.code() is Code.RESOURCE_EXHAUSTED
        assert "too many enrolments at once: come back in" in (full.details() or "")
    async with calling(secure, tmp_path, at_once=1) as stub:
        await stub.Enroll(asking(good), timeout=DEADLINE_S)


async def test_places_at_once_are_given_back(secure: World, tmp_path: Path) -> None:
    """After failures as after successes."""
    async with calling(secure, tmp_path, at_once=1) as stub:
        for _ in range(3):
            await refusal(stub.Enroll(asking(bytes(32)), timeout=DEADLINE_S))
        await stub.Enroll(asking(await secret(secure)), timeout=DEADLINE_S)


async def test_an_oversized_request_is_refused(secure: World, tmp_path: Path) -> None:
    """Before anything of it is read."""
    async with calling(secure, tmp_path) as stub:
        huge = await refusal(stub.Enroll(pb.EnrollRequest(csr=bytes(100_000)), timeout=DEADLINE_S))
    assert huge.code() is Code.RESOURCE_EXHAUSTED
