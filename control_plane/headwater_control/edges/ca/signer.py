"""Who signs in the name of an issuing certificate: its key, if that is here."""

from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from headwater_control.edges.ca import profiles


class BadAuthority(Exception):
    """What makes no certificate authority: the message says what, and why."""


class Signer(Protocol):
    """Signs. What can't be signed now raises `CantIssue`."""

    @property
    def secret(self) -> bytes:
        """Give what only those have who may sign."""

    def leaf(self, csr: x509.CertificateSigningRequest, wanted: profiles.Wanted) -> x509.Certificate:
        """Sign a certificate for the key in a CSR, whose signature has been checked; it may take its time."""

    def revocations(self, builder: x509.CertificateRevocationListBuilder) -> x509.CertificateRevocationList:
        """Sign a list of revoked certificates."""


class KeySigner:
    """Implements Signer with the key itself."""

    def __init__(self, issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        if issuer.public_key() != key.public_key():
            raise BadAuthority("the CA's key is not the one of its certificate")
        self._issuer = issuer
        self._key = key

    @property
    def secret(self) -> bytes:
        """Give the key's own number."""
        return self._key.private_numbers().private_value.to_bytes(66, "big")  # P-521 has the longest

    def leaf(self, csr: x509.CertificateSigningRequest, wanted: profiles.Wanted) -> x509.Certificate:
        """Sign a certificate for the key in a CSR, and nothing else that it says."""
        key = csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey), "looked at by whoever took the request"
        return profiles.leaf(self._issuer, self._key, key, wanted)

    def revocations(self, builder: x509.CertificateRevocationListBuilder) -> x509.CertificateRevocationList:
        """Sign a list of revoked certificates."""
        return builder.sign(self._key, hashes.SHA256())
