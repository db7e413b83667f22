"""Calls to the enrolment service, as a box or an attacker makes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_agent.edges.certificates import request
from headwater_wire.invitation import Invitation
from headwater_wire.v1 import enrolment_pb2 as pb
from headwater_wire.v1 import enrolment_pb2_grpc as stubs

from tests.support.stronghold import OK, PATIENCE_S, Stronghold

DER = serialization.Encoding.DER


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a device's key."""
    return ec.generate_private_key(ec.SECP256R1())


@asynccontextmanager
async def service(held: Stronghold) -> AsyncIterator[Any]:
    """Call the enrolment service."""
    async with grpc.aio.secure_channel(held.enrol, held.nobody.credentials) as channel:
        yield stubs.EnrolmentStub(channel)  # type: ignore[no-untyped-call]


async def enrols(
    held: Stronghold, invited: Invitation, device: str, csr: bytes | None = None
) -> tuple[str, str | pb.Identity]:
    """Ask for a certificate; give the status, and the sentence or the answer."""
    async with service(held) as stub:
        asked = pb.EnrollRequest(secret=invited.secret, device=device, csr=csr or request(new_key()))
        try:
            return OK, await stub.Enroll(asked, timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""


def leaf_of(answer: str | pb.Identity) -> x509.Certificate:
    """Read the certificate in an answer."""
    assert isinstance(answer, pb.Identity), answer
    return x509.load_pem_x509_certificate(answer.chain)
