"""Keys and certificates of a device: made, asked for, read. Only who enrols or renews needs it: ten megabytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from headwater_wire.ids import DeviceId, check_name


@dataclass(frozen=True, slots=True)
class Paper:
    """A private key and the chain of its certificate, in PEM, and what the certificate says."""

    device: DeviceId
    key_pem: bytes
    chain_pem: bytes
    begins: datetime
    ends: datetime


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a private key; raise ValueError or TypeError."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("its key is no P-256 key")
    return key


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Spell a private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_chain(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read certificates; raise ValueError."""
    return tuple(x509.load_pem_x509_certificates(pem))


def read_paper(key: ec.EllipticCurvePrivateKey, chain: Sequence[x509.Certificate]) -> Paper:
    """Say what a chain makes of a key; raise ValueError if its certificate is for another, `Malformed` for its name."""
    own = chain[0]
    if own.public_key() != key.public_key():
        raise ValueError("its certificate is for another key")
    (name,) = own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Paper(
        DeviceId(check_name(str(name.value), "device")),
        key_pem(key),
        b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain),
        own.not_valid_before_utc,
        own.not_valid_after_utc,
    )


def request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Ask for a certificate (PKCS #10, DER). It names nobody: whose it is, is the server's word."""
    signed = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)
