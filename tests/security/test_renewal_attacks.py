"""Attacks on how a box gets its next certificate: each test is one, and shows that it fails."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_agent.edges import enrolment as agent
from headwater_agent.edges.certificates import request
from headwater_agent.edges.enrolment import NoCertificate
from headwater_agent.edges.identity import Identity, identify
from headwater_control.service import standing
from headwater_wire import signing
from headwater_wire.ids import DeviceId
from headwater_wire.names import CONTROL
from headwater_wire.v1 import enrolment_pb2 as pb

from tests.support.enrolling import enrols, leaf_of, new_key, service
from tests.support.forging import foreign
from tests.support.stronghold import BY_TLS, OK, PATIENCE_S, WELCOME, Stronghold, shown


@dataclass(frozen=True)
class Renewal:
    """What a renewal is made of: an attack changes one thing."""

    chain: bytes
    csr: bytes
    nonce: bytes
    signer: ec.EllipticCurvePrivateKey

    async def sent(self, held: Stronghold, *, signed: bytes | None = None) -> tuple[str, str | pb.Identity]:
        """Sign and send it; `signed` is the nonce that is signed instead."""
        message = signing.renewal(self.nonce if signed is None else signed, self.csr)
        signature = self.signer.sign(message, ec.ECDSA(hashes.SHA256()))
        async with service(held) as stub:
            asked = pb.RenewRequest(chain=self.chain, csr=self.csr, nonce=self.nonce, signature=signature)
            try:
                return OK, await stub.Renew(asked, timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                return error.code().name, error.details() or ""


async def renewal(held: Stronghold, identity: Identity) -> Renewal:
    """Prepare an honest one."""
    async with service(held) as stub:
        nonce = (await stub.Challenge(pb.ChallengeRequest(), timeout=PATIENCE_S)).nonce
    return Renewal(identity.chain_pem, request(identity.key), nonce, identity.key)


async def test_a_renewal_that_was_tampered_with_is_refused(held: Stronghold) -> None:
    """Another key's signature, another nonce, another key in the request, another box's chain: none is good."""
    identity, other = await held.enrolled("box-1"), await held.enrolled("box-2")
    honest = await renewal(held, identity)
    foreign_nonce = replace(honest, nonce=bytes(len(honest.nonce)))
    for attack in (
        replace(honest, signer=new_key()),
        replace(honest, signer=other.key),
        replace(honest, csr=request(new_key())),
        replace(honest, csr=request(other.key)),
        replace(honest, chain=other.chain_pem),
        foreign_nonce,
        replace(honest, nonce=honest.nonce[:-1]),
        replace(honest, nonce=honest.nonce + b"\0"),
        replace(honest, nonce=b""),
    ):
        assert (await attack.sent(held))[0] == "PERMISSION_DENIED", attack
    assert (await honest.sent(held, signed=b"another"))[0] == "PERMISSION_DENIED"
    assert (await honest.sent(held))[0] == OK, "else the refusals show nothing"


async def test_a_stranger_behind_the_same_address_holds_no_renewal_up(held: Stronghold) -> None:
    """Who guesses at invitations and forges renewals is soon sent away himself; an honest box renews meanwhile."""
    identity, impostor = await held.enrolled("box-1"), await held.enrolled("box-2")
    honest = await renewal(held, identity)
    for _ in range(25):
        last = (await enrols(held, replace(await held.invite(), secret=bytes(32)), "box-1"))[0]
        assert (await replace(honest, signer=new_key()).sent(held))[0] == "PERMISSION_DENIED"
        assert (await replace(honest, signer=impostor.key).sent(held))[0] == "PERMISSION_DENIED"
    assert last == "RESOURCE_EXHAUSTED"
    assert (await honest.sent(held))[0] == OK


async def test_a_nonce_whose_end_was_put_off_is_refused(held: Stronghold) -> None:
    """Its time is under a MAC."""
    honest = await renewal(held, await held.enrolled("box-1"))
    later = (int.from_bytes(honest.nonce[:8], "big") + 10**9).to_bytes(8, "big") + honest.nonce[8:]
    assert (await replace(honest, nonce=later).sent(held))[0] == "PERMISSION_DENIED"


async def test_a_nonce_is_good_for_a_minute_and_for_its_signer_only(held: Stronghold) -> None:
    """A recorded renewal gives who replays it nothing new: the key is the box's; and later not even that."""
    identity = await held.enrolled("box-1")
    honest = await renewal(held, identity)
    assert (await honest.sent(held))[0] == OK
    status, again = await honest.sent(held)
    assert (status, leaf_of(again).public_key()) == (OK, identity.key.public_key())
    stolen = replace(honest, csr=request(new_key()))
    assert (await stolen.sent(held))[0] == "PERMISSION_DENIED", "a nonce seen on its way renews no other key"
    await held.clock.advance(60)
    assert (await honest.sent(held))[0] == "PERMISSION_DENIED"


async def test_only_our_own_certificates_are_renewed(held: Stronghold, tmp_path: Path) -> None:
    """Neither a foreign authority's, nor that of our root's other intermediate, nor a server's, nor our own."""
    now = datetime.now(UTC)
    own, server = held.authority.control("control:gate", now), held.authority.server(["localhost"], now)
    shows = [
        foreign(tmp_path / "foreign", held.authority, "box-1"),
        held.forger.beside("box-1"),
        held.forger.leaf("box-1", []),
        held.forger.leaf("box-1", [CONTROL]),
    ]
    honest = await renewal(held, await held.enrolled("box-9"))
    for chain, pem in [*((one.chain, one.key) for one in shows), (own.chain, own.key), (server.chain, server.key)]:
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        attack = replace(honest, chain=chain, csr=request(key), signer=key)
        assert (await attack.sent(held))[0] == "PERMISSION_DENIED"


async def test_nonsense_for_a_chain_is_refused_in_words(held: Stronghold) -> None:
    """No certificate, and a broken one."""
    honest = await renewal(held, await held.enrolled("box-1"))
    for chain in (b"", b"\0", honest.chain[:200], b"-----BEGIN CERTIFICATE-----\n" * 100):
        assert (await replace(honest, chain=chain).sent(held))[0] == "INVALID_ARGUMENT"


async def test_a_disabled_device_renews_nothing(held: Stronghold) -> None:
    """Until it is enabled again."""
    identity = await held.enrolled("box-1")
    await standing.disable(held.world, DeviceId("box-1"), "stolen")
    status, why = await (await renewal(held, identity)).sent(held)
    assert (status, "stolen" in str(why)) == ("PERMISSION_DENIED", True)
    await standing.enable(held.world, DeviceId("box-1"))
    assert (await (await renewal(held, identity)).sent(held))[0] == OK


async def test_a_box_whose_place_was_taken_is_out(held: Stronghold) -> None:
    """Its certificate lets it in nowhere, and is not renewed: nor are those it got by renewals; the new box is in."""
    former = await held.enrolled("box-1")
    renewed = await agent.renew(former)
    successor = await agent.enroll(await held.invite("box-1"), "box-1", new_key())
    for identity in (former, renewed):
        status, why = await (await renewal(held, identity)).sent(held)
        assert (status, "revoked" in str(why)) == ("PERMISSION_DENIED", True)
        assert await held.knocks(shown(identity), "box-1") == "PERMISSION_DENIED"
        assert await held.connects(shown(identity), "box-1") == 0x87
    assert await held.knocks(shown(successor), "box-1") == OK
    assert await held.connects(shown(successor), "box-1") == WELCOME


async def expired(held: Stronghold, *, by: timedelta) -> Identity:
    """Give a box the certificate it had when it was switched off: its end lies so far back."""
    identity = await held.enrolled("box-1")
    key = new_key()
    issued_at = datetime.now(UTC) - by - timedelta(days=90)
    issued = held.authority.device(DeviceId("box-1"), request(key), issued_at)
    return identify(key, x509.load_pem_x509_certificates(issued.chain), identity.control_plane)


async def test_a_box_that_was_off_for_half_a_year_comes_back_by_itself(held: Stronghold) -> None:
    """Its expired certificate opens nothing but its renewal, and the new one is good."""
    old = await expired(held, by=timedelta(days=180))
    assert await held.knocks(shown(old), "box-1") == "UNAVAILABLE"
    assert await held.connects(shown(old), "box-1") is BY_TLS
    renewed = await agent.renew(old)
    assert await held.knocks(shown(renewed), "box-1") == OK
    assert await held.connects(shown(renewed), "box-1") == WELCOME


async def test_beyond_the_grace_a_certificate_is_not_renewed(held: Stronghold) -> None:
    """A box in a drawer for two years is enrolled again, by a person."""
    with pytest.raises(NoCertificate, match="enrol this box again"):
        await agent.renew(await expired(held, by=timedelta(days=366)))


async def test_an_expired_certificate_of_a_disabled_device_is_not_renewed(held: Stronghold) -> None:
    """To wait until it has expired helps nobody."""
    old = await expired(held, by=timedelta(days=30))
    await standing.disable(held.world, DeviceId("box-1"), "stolen")
    with pytest.raises(NoCertificate, match="stolen"):
        await agent.renew(old)
