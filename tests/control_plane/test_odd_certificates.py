"""What is read of certificates and requests that nobody in their right mind would make."""

import random
from datetime import timedelta

import pytest
from cryptography import x509
from headwater_control import certificates
from headwater_control.edges.ca import Authority, profiles
from headwater_control.edges.ca.signer import KeySigner
from headwater_control.ports.issuer import NotOurs
from headwater_wire.errors import Malformed

from tests.fuzzing import der
from tests.fuzzing.certificates import pem

ROOT = profiles.root(der.key(1), "root", der.NOW)
OURS = Authority(ROOT, ROOT, KeySigner(ROOT, der.key(1)))
_VERSION_3 = bytes.fromhex("a003020102")  # of a certificate, RFC 5280, 4.1.2.1
_P256 = bytes.fromhex("06082a8648ce3d030107")  # a curve, RFC 5480, 2.1.1.1


def _signed(content: bytes) -> bytes:
    return der.wrapped(content, der.key(1), random.Random(1))


def test_a_certificate_of_a_version_that_is_none_is_malformed() -> None:
    """Whoever asks what it says, in DER or PEM."""
    data = _signed(der.inside(der.certificates(ROOT, der.key(1))[0]).replace(_VERSION_3, bytes.fromhex("a003020109")))
    with pytest.raises(Malformed):
        certificates.from_der(data)
    with pytest.raises(Malformed):
        certificates.from_pem(pem(data))
    with pytest.raises(Malformed):
        OURS.examine(pem(data), der.NOW, timedelta(days=1))


def test_a_certificate_whose_key_is_of_an_unknown_curve_is_nobodys() -> None:
    """Although we have signed it."""
    content = der.inside(der.certificates(ROOT, der.key(1))[0])
    data = _signed(content.replace(_P256, _P256[:-1] + b"\x63"))
    x509.load_der_x509_certificate(data).verify_directly_issued_by(ROOT)
    with pytest.raises(NotOurs):
        OURS.examine(pem(data), der.NOW, timedelta(days=1))
    with pytest.raises(NotOurs):
        OURS.signed_renewal(pem(data), b"", b"", b"")


@pytest.mark.parametrize(
    ("place", "instead"), [(b"\x02\x01\x00", b"\x02\x01\x11"), (_P256, _P256[:-1] + b"\x63"), (_P256, b"\x06\x01\x01")]
)
def test_a_request_with_an_odd_version_or_key_is_malformed(place: bytes, instead: bytes) -> None:
    """However properly it is signed."""
    content = der.inside(der.requests()[0][0])
    assert place in content
    with pytest.raises(Malformed):
        OURS.key_of(der.wrapped(content.replace(place, instead, 1), der.key(11), random.Random(1)))
