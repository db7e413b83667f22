"""An invitation as one line to paste: where to enrol, whom to believe there, and the secret that lets one in."""

import base64
import binascii
from dataclasses import dataclass, field
from hashlib import sha256

from google.protobuf.message import DecodeError

from headwater_wire.errors import Malformed
from headwater_wire.v1 import enrolment_pb2 as pb

_PREFIX = "hw1."
_CHECK_BYTES = 4
SECRET_BYTES = 32
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Invitation:
    """`fingerprint` is the SHA-256 of the root certificate (DER)."""

    address: str  # host:port
    fingerprint: bytes
    secret: bytes = field(repr=False)


def encode(invitation: Invitation) -> str:
    """Write it as one word."""
    data = pb.Invitation(
        address=invitation.address, fingerprint=invitation.fingerprint, secret=invitation.secret
    ).SerializeToString()
    return _PREFIX + base64.urlsafe_b64encode(data + _check(data)).decode().rstrip("=")


def decode(text: str) -> Invitation:
    """Read it; raise `Malformed` also for one that was cut or mistyped."""
    body = text.strip().removeprefix(_PREFIX)
    if not text.strip().startswith(_PREFIX) or len(text) > _LONGEST:
        raise Malformed(f"an invitation begins with {_PREFIX!r}: paste the whole line that `device invite` printed")
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        data, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
        if check != _check(data):
            raise ValueError("its check digits do not fit")
        message = pb.Invitation.FromString(data)
    except (binascii.Error, ValueError, DecodeError) as error:
        raise Malformed("the invitation is damaged, or cut short: paste the whole line again") from error
    if len(message.fingerprint) != sha256().digest_size or len(message.secret) != SECRET_BYTES or not message.address:
        raise Malformed("the invitation lacks something: make a new one with `headwater device invite`")
    return Invitation(message.address, message.fingerprint, message.secret)


def _check(data: bytes) -> bytes:
    return sha256(_PREFIX.encode() + data).digest()[:_CHECK_BYTES]
