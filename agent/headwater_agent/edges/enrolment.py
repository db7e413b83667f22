"""The control plane's enrolment service: a certificate for an invitation, and a new one for an old one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_wire import signing
from headwater_wire.errors import WireError
from headwater_wire.invitation import Invitation
from headwater_wire.v1 import enrolment_pb2 as pb
from headwater_wire.v1.enrolment_pb2_grpc import EnrolmentStub

from headwater_agent.edges.certificates import read_chain, request
from headwater_agent.edges.identity import ControlPlane, Identity, identify, place
from headwater_agent.ports import AgentError

PATIENCE_S = 20.0
_OPTIONS = (("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 1 << 20))
_T = TypeVar("_T")


class NoCertificate(AgentError):
    """Enrolment or renewal did not work. `refused`: the control plane said no, and would say it again."""

    def __init__(self, why: str, *, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused


async def enroll(
    invitation: Invitation, device: str, key: ec.EllipticCurvePrivateKey, *, insists: bool = False
) -> Identity:
    """Get a certificate; raise `NoCertificate`. To repeat it with the same key gives the same again."""
    root = await _root(invitation)
    async with _service(invitation.address, root) as stub:
        asked = pb.EnrollRequest(secret=invitation.secret, device=device, csr=request(key), insists=insists)
        answer = await _within(stub.Enroll(asked, timeout=PATIENCE_S), invitation.address)
    return _identity(answer, key, root, invitation.address)


async def renew(identity: Identity) -> Identity:
    """Get a new certificate for the same key, whether or not the old one has expired; raise `NoCertificate`."""
    known, key = identity.control_plane, identity.key
    async with _service(known.enrolment, known.root.encode()) as stub:
        nonce = (await _within(stub.Challenge(pb.ChallengeRequest(), timeout=PATIENCE_S), known.enrolment)).nonce
        csr = request(key)
        signature = key.sign(signing.renewal(nonce, csr), ec.ECDSA(hashes.SHA256()))
        asked = pb.RenewRequest(chain=identity.chain_pem, csr=csr, nonce=nonce, signature=signature)
        answer = await _within(stub.Renew(asked, timeout=PATIENCE_S), known.enrolment)
    return _identity(answer, key, known.root.encode(), known.enrolment)


async def server_time_ms(known: ControlPlane) -> int:
    """Ask the control plane for its time, in Unix milliseconds; raise `NoCertificate`. An old one answers 0."""
    async with _service(known.enrolment, known.root.encode()) as stub:
        challenge = await _within(stub.Challenge(pb.ChallengeRequest(), timeout=PATIENCE_S), known.enrolment)
    return int(challenge.server_time_ms)


async def _root(invitation: Invitation) -> bytes:
    """Fetch the root certificate (PEM) whose fingerprint the invitation tells, over a connection nobody vouches for."""
    try:
        to = place(invitation.address)
        # Whoever that is: the fingerprint decides whether what it says is believed.
        leaf = await asyncio.to_thread(ssl.get_server_certificate, (to.host, to.port), timeout=PATIENCE_S)
    except (OSError, ValueError) as error:  # ValueError: such an address there is not
        raise NoCertificate(f"nobody answers at {invitation.address} ({error}): is `headwater serve` there?") from error
    async with _service(invitation.address, leaf.encode()) as stub:
        root: bytes = (await _within(stub.Anchors(pb.AnchorsRequest(), timeout=PATIENCE_S), invitation.address)).root
    try:
        found = x509.load_pem_x509_certificate(root)
    except ValueError as error:
        raise NoCertificate(f"{invitation.address} does not tell a certificate authority") from error
    if found.fingerprint(hashes.SHA256()) != invitation.fingerprint:
        raise NoCertificate(
            f"{invitation.address} is not the control plane that made this invitation: its certificate authority has "
            "another fingerprint. Somebody may stand between; nothing was sent to it",
            refused=True,
        )
    return found.public_bytes(serialization.Encoding.PEM)  # what was checked, and nothing else that was told


@asynccontextmanager
async def _service(address: str, root: bytes) -> AsyncIterator[Any]:
    credentials = grpc.ssl_channel_credentials(root)
    async with grpc.aio.secure_channel(address, credentials, options=_OPTIONS) as channel:
        yield EnrolmentStub(channel)  # type: ignore[no-untyped-call]  # generated


async def _within(call: Awaitable[_T], address: str) -> _T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        why = f"{address}: {(error.details() or error.code().name)[:300]}"
        refused = error.code() in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT}
        raise NoCertificate(why, refused=refused) from error


def _identity(answer: pb.Identity, key: ec.EllipticCurvePrivateKey, root: bytes, address: str) -> Identity:
    """Check an answer, and make an identity of it."""
    try:
        known = ControlPlane(
            root=root.decode("ascii"),
            keys=tuple(sorted(public.hex() for public in signing.keys_of(answer.keys).values())),
            enrolment=address,
            gateway=_beside(address, answer.gateway),
            broker=_beside(address, answer.broker),
        )
        return identify(key, read_chain(answer.chain), known)
    except (ValueError, IndexError, WireError) as error:
        raise NoCertificate(f"{address} answered with something that is no identity: {error}") from error


def _beside(address: str, told: str) -> str:
    """Complete ":port" by the host where the enrolment service was found; raise ValueError."""
    complete = address.rpartition(":")[0] + told if told.startswith(":") else told
    place(complete)
    return complete
