"""Certificate signing requests, good and odd."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a device's key."""
    return ec.generate_private_key(ec.SECP256R1())


def request(key: ec.EllipticCurvePrivateKey | None = None, common: str = "whoever") -> bytes:
    """Ask for a certificate (PKCS #10, DER)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key or new_key(), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)
