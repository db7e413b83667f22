"""Attacks on how a box gets its certificate, and the next one: each test is one, and shows that it fails."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from headwater_agent.edges import enrolment as agent
from headwater_agent.edges.certificates import request
from headwater_agent.edges.enrolment import NoCertificate
from headwater_control.edges.ca import embedded
from headwater_control.service import standing
from headwater_wire import invitation, signing
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId
from headwater_wire.invitation import Invitation
from headwater_wire.names import CONTROL, device_uri
from headwater_wire.v1 import enrolment_pb2 as pb
from headwater_wire.v1 import enrolment_pb2_grpc as stubs
from hypothesis import given
from hypothesis import strategies as st

from tests.support.enrolling import DER, enrols, leaf_of, new_key
from tests.support.stronghold import HOUR, OK, Stronghold, shown

PATHS = ("../box", "..", "a/b", "/etc", "box\0", "box\n", "a" * 65, "", ".box", "bøx", "control:gate", "+", "#", "$SYS")


# ── invitations ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_replayed_invitation_is_refused_and_audited(held: Stronghold) -> None:
    """Who saw the line go by gets no certificate with a key of his own, under no name, and the log tells of it."""
    invited = await held.invite()
    await agent.enroll(invited, "box-1", new_key())
    for device in ("box-1", "box-2"):
        status, why = await enrols(held, invited, device)
        assert (status, "has been used" in str(why)) == ("PERMISSION_DENIED", True)
    refusals = await held.audited("device.enroll-refused")
    assert len(refusals) == 2
    assert all("has been used" in refusal for refusal in refusals)
    assert len(await held.audited("device.enroll")) == 1


async def test_the_same_key_again_is_the_same_enrolment(held: Stronghold) -> None:
    """A box whose answer was lost asks again with its key: it gets a certificate, and no further use is counted."""
    invited, key = await held.invite(), new_key()
    first = await agent.enroll(invited, "box-1", key)
    again = await agent.enroll(invited, "box-1", key)
    assert (first.device, first.key_pem) == (again.device, again.key_pem)
    async with held.world.store.read() as tx:
        assert [invite.used for invite in await tx.invites.all()] == [1]
    assert await held.knocks(shown(again), "box-1") == OK


async def test_the_same_key_again_takes_no_other_name(held: Stronghold) -> None:
    """The right to repeat an enrolment is one to the same name only."""
    invited, key = await held.invite(), new_key()
    await agent.enroll(invited, "box-1", key)
    status, _ = await enrols(held, invited, "box-2", request(key))
    assert status == "PERMISSION_DENIED"


async def test_a_disabled_box_does_not_come_back_by_its_old_invitation(held: Stronghold) -> None:
    """Nor does a repeated enrolment lift what an operator decided."""
    invited, key = await held.invite(), new_key()
    identity = await agent.enroll(invited, "box-1", key)
    await standing.disable(held.world, DeviceId("box-1"), "stolen")
    with pytest.raises(NoCertificate, match="has been used"):
        await agent.enroll(invited, "box-1", key)
    assert await held.knocks(shown(identity), "box-1") == "PERMISSION_DENIED"


async def test_an_expired_invitation_is_refused_and_audited(held: Stronghold) -> None:
    """Its time counts by the server's clock."""
    invited = await held.invite(ttl=HOUR)
    await held.clock.advance(3600)
    status, why = await enrols(held, invited, "box-1")
    assert (status, "expired" in str(why)) == ("PERMISSION_DENIED", True)
    assert len(await held.audited("device.enroll-refused")) == 1


async def test_an_invitation_for_three_is_for_three(held: Stronghold) -> None:
    """The fourth box is told so."""
    invited = await held.invite(uses=3)
    statuses = [(await enrols(held, invited, f"box-{number}"))[0] for number in range(4)]
    assert statuses == [OK, OK, OK, "PERMISSION_DENIED"]


async def test_an_id_that_is_taken_is_not_given_away(held: Stronghold) -> None:
    """A general invitation puts no other box in the place of one that is there, and its use is not spent."""
    first = await held.enrolled("box-1")
    invited = await held.invite()
    status, why = await enrols(held, invited, "box-1")
    assert (status, "there is a device 'box-1' already" in str(why)) == ("PERMISSION_DENIED", True)
    assert await held.knocks(shown(first), "box-1") == OK
    assert (await enrols(held, invited, "box-2"))[0] == OK


async def test_an_invitation_for_one_device_is_for_no_other(held: Stronghold) -> None:
    """Whatever a box calls itself, it becomes the device that it was invited as."""
    invited = await held.invite("box-7")
    identity = await agent.enroll(invited, "box-1", new_key())
    assert identity.device == "box-7"
    assert await held.knocks(shown(identity), "box-1") == "PERMISSION_DENIED"
    assert await held.knocks(shown(identity), "box-7") == OK


@pytest.mark.parametrize("device", PATHS)
async def test_no_path_or_topic_is_enrolled_as_a_name(held: Stronghold, device: str) -> None:
    """What is no name becomes no device, and spends nothing."""
    invited = await held.invite()
    csr = request(new_key())
    assert (await enrols(held, invited, device, csr))[0] == "INVALID_ARGUMENT"
    assert (await enrols(held, invited, "box-1", csr))[0] == OK


GOOD = Invitation("127.0.0.1:1", bytes(range(32)), bytes(range(32, 64)))
LINE = invitation.encode(GOOD)


@given(st.integers(0, len(LINE) - 1), st.characters(codec="ascii"))
def test_a_mistyped_invitation_is_not_believed(place: int, typed: str) -> None:
    """One wrong character is found, or changes nothing, before anything is sent anywhere."""
    mistyped = LINE[:place] + typed + LINE[place + 1 :]
    try:
        assert invitation.decode(mistyped) == GOOD
    except Malformed:
        return
    assert mistyped.strip() == LINE or place == len(LINE) - 1, "only the last one's spare bits may differ"


@pytest.mark.parametrize("length", range(len(LINE)))
def test_a_truncated_invitation_is_not_believed(length: int) -> None:
    """However much of it is missing."""
    with pytest.raises(Malformed):
        invitation.decode(LINE[:length])


@given(st.text(max_size=1500) | st.binary(max_size=900).map(lambda data: "hw1." + data.hex()))
def test_no_other_line_is_an_invitation(text: str) -> None:
    """Paths, long lines, and other people's tokens are refused in words."""
    with pytest.raises(Malformed):
        invitation.decode(text)


@pytest.mark.parametrize("secret", [b"", b"\0" * 32, b"x" * 31, b"x" * 33, b"x" * 10_000])
async def test_a_guessed_secret_opens_nothing(held: Stronghold, secret: bytes) -> None:
    """Nor does one of another length."""
    await held.invite()
    status, _ = await enrols(held, replace(GOOD, secret=secret), "box-1")
    assert status in {"PERMISSION_DENIED", "INVALID_ARGUMENT"}


async def test_guessing_is_slowed_down(held: Stronghold) -> None:
    """After twenty failures an address waits, and who holds an invitation gets in later all the same."""
    statuses = [(await enrols(held, replace(GOOD, secret=bytes([n]) * 32), "box-1"))[0] for n in range(22)]
    assert statuses == ["PERMISSION_DENIED"] * 20 + ["RESOURCE_EXHAUSTED"] * 2


# ── certificate signing requests ───────────────────────────────────────────────────────────────────────────────


def signed_csr(key: Any, algorithm: Any) -> bytes:
    """Ask for a certificate for a key of another kind."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box-1")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, algorithm).public_bytes(DER)


def damaged() -> bytes:
    """Break the signature of a request, as who does not have the key must."""
    csr = bytearray(request(new_key()))
    csr[-1] ^= 1
    return bytes(csr)


def swapped() -> bytes:
    """Put somebody else's key into a request: its signature is not by that."""
    mine, theirs = request(new_key()), new_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    own = x509.load_der_x509_csr(mine).public_key()
    return mine.replace(own.public_bytes(DER, info), theirs.public_key().public_bytes(DER, info))


CSRS: dict[str, Callable[[], bytes]] = {
    "RSA": lambda: signed_csr(rsa.generate_private_key(65537, 2048), hashes.SHA256()),
    "P-384": lambda: signed_csr(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()),
    "secp256k1": lambda: signed_csr(ec.generate_private_key(ec.SECP256K1()), hashes.SHA256()),
    "Ed25519": lambda: signed_csr(ed25519.Ed25519PrivateKey.generate(), None),
    "a broken signature": damaged,
    "somebody else's key": swapped,
    "nothing": lambda: b"\0",
    "cut short": lambda: request(new_key())[:-20],
    "PEM": lambda: b"-----BEGIN CERTIFICATE REQUEST-----\n",
}


@pytest.mark.parametrize("kind", CSRS)
async def test_a_request_of_another_kind_is_refused(held: Stronghold, kind: str) -> None:
    """Only a P-256 key whose owner has signed gets a certificate; nothing is spent by the others."""
    invited = await held.invite()
    assert (await enrols(held, invited, "box-1", CSRS[kind]()))[0] == "INVALID_ARGUMENT"
    assert (await enrols(held, invited, "box-1"))[0] == OK


async def test_what_a_request_says_of_its_subject_is_ignored(held: Stronghold) -> None:
    """One that asks for another name, for the control plane's URI and to be an authority gets our words only."""
    key = new_key()
    asked = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "control:gate")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(CONTROL), x509.DNSName("localhost")]),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
        .sign(key, hashes.SHA256())
    )
    _, answer = await enrols(held, await held.invite(), "box-1", asked.public_bytes(DER))
    made = leaf_of(answer)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(device_uri(DeviceId("box-1")))]
    assert made.subject.rfc4514_string() == "CN=box-1"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


# ── an impostor ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Impostor(stubs.EnrolmentServicer):
    """Poses as the enrolment service, and notes all that it is told. `root` is what it says its authority is."""

    root: bytes
    calls: list[str] = field(default_factory=list)
    secrets: list[bytes] = field(default_factory=list)

    async def Anchors(self, request: pb.AnchorsRequest, context: object) -> pb.AnchorsResponse:  # noqa: N802
        """Tell a root."""
        self.calls.append("Anchors")
        return pb.AnchorsResponse(root=self.root)

    async def Enroll(self, request: pb.EnrollRequest, context: object) -> pb.Identity:  # noqa: N802
        """Take the secret."""
        self.calls.append("Enroll")
        self.secrets.append(request.secret)
        return pb.Identity()


@pytest.mark.parametrize(
    "tells", ["its own root", "the true root", "nonsense", "the true root and its own", "its own root and the true one"]
)
async def test_an_impostor_learns_no_secret(held: Stronghold, tmp_path: Path, tells: str) -> None:
    """Whoever stands between gets nothing, whether it tells its own root or repeats ours, which it has no key for."""
    other = embedded(tmp_path / "impostor", datetime.now(UTC))
    true, own = held.authority.root_pem, other.root_pem
    roots = {"its own root": own, "the true root": true, "nonsense": b"\0"}
    roots |= {"the true root and its own": true + own, "its own root and the true one": own + true}
    impostor = Impostor(roots[tells])
    server = grpc.aio.server()
    stubs.add_EnrolmentServicer_to_server(impostor, server)  # type: ignore[no-untyped-call]
    leaf = other.server(["127.0.0.1"], datetime.now(UTC))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(leaf.key, leaf.chain)]))
    await server.start()
    try:
        invited = replace(await held.invite(), address=f"127.0.0.1:{port}")
        with pytest.raises(NoCertificate):
            await agent.enroll(invited, "box-1", new_key())
    finally:
        await server.stop(None)
    assert impostor.secrets == []
    assert "Enroll" not in impostor.calls


async def test_a_certificate_for_another_key_is_not_kept(held: Stronghold) -> None:
    """An answer whose certificate is not for the box's own key is no identity."""
    stranger = shown(await held.enrolled("box-9"))
    told = pb.Identity(device="box-1", chain=stranger.chain, gateway=":1", broker=":1")
    told.keys.CopyFrom(signing.key_set([b"\1" * 32]))
    with pytest.raises(NoCertificate, match="another key"):
        agent._identity(told, new_key(), held.authority.root_pem, held.enrol)
