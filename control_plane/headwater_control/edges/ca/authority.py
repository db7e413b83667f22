"""Issues certificates, and judges those that are shown to it."""

import ssl
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from headwater_wire import signing
from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId
from headwater_wire.names import CONTROL, device_uri

from headwater_control.certificates import UNREADABLE, bearer
from headwater_control.core.identity import Certificate
from headwater_control.edges.ca import profiles
from headwater_control.edges.ca.signer import BadAuthority, Signer
from headwater_control.ports.issuer import Issued, NotOurs, Shown

_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key and its chain, for a process of the control plane itself."""

    key: bytes = field(repr=False)  # PEM
    chain: bytes  # PEM, the root left out
    issued_at: datetime
    ends: datetime

    def load(self, context: ssl.SSLContext) -> None:
        """Have a context show it: the standard library takes that from a file only, which is ours and gone at once."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.key + self.chain)
            file.flush()
            context.load_cert_chain(file.name)

    def due(self, now: datetime) -> bool:
        """Say whether half its life is over: time for the next one."""
        return now >= self.issued_at + (self.ends - self.issued_at) / 2


class Authority:
    """Implements ports.Issuer. `signer` signs for `issuer`, which is directly beneath the root or the root itself.

    Whatever issues may ask another machine, and raise `CantIssue`.
    """

    def __init__(self, root: x509.Certificate, issuer: x509.Certificate, signer: Signer) -> None:
        try:
            if issuer != root:
                issuer.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise BadAuthority("the issuing certificate must be the root itself, or be issued by the root") from error
        self._root = root
        self._issuer = issuer
        self._signer = signer

    @property
    def root_pem(self) -> bytes:
        """Give the certificate that agents believe."""
        return self._root.public_bytes(_PEM)

    @property
    def fingerprint(self) -> bytes:
        """Give the root's SHA-256, of its DER."""
        return sha256(self._root.public_bytes(_DER)).digest()

    @property
    def client_anchors(self) -> bytes:
        """Give what a client's certificate must be signed by (PEM): our issuer, not all that is beneath the root."""
        return self._issuer.public_bytes(_PEM)

    def device(self, device: DeviceId, csr: bytes, now: datetime) -> Issued:
        """Issue a device's certificate for the key in a CSR (PKCS #10, DER), whatever else that says."""
        request, key = _requested(csr)
        names = [x509.UniformResourceIdentifier(device_uri(device))]
        made = self._signer.leaf(request, profiles.wanted(self._issuer, device, names, now, server=False))
        record = Certificate(
            serial=f"{made.serial_number:x}",
            device=device,
            key=_fingerprint(key),
            issued_at=now,
            ends=made.not_valid_after_utc,
        )
        return Issued(record, self._chain(made))

    def key_of(self, csr: bytes) -> str:
        """Tell the SHA-256 of the key in a CSR; raise `Malformed`."""
        return _fingerprint(_requested(csr)[1])

    def server(self, hosts: Sequence[str], now: datetime) -> Leaf:
        """Issue a certificate for a server that is reached under these names."""
        return self._own(hosts[0], profiles.server_names(hosts), now, server=True)

    def control(self, role: str, now: datetime) -> Leaf:
        """Issue a certificate for one of the control plane's own connections to a broker."""
        return self._own(role, [x509.UniformResourceIdentifier(CONTROL)], now, server=False)

    def examine(self, chain: bytes, now: datetime, grace: timedelta) -> Shown:
        """Say whose certificate (PEM, the first) this is, if we issued it and it did not expire too long ago."""
        certificate = _first(chain)
        try:
            certificate.verify_directly_issued_by(self._issuer)
        except UNREADABLE as error:
            raise NotOurs("that certificate is not one of ours: enrol this box again") from error
        if now > certificate.not_valid_after_utc + grace:
            raise NotOurs(
                f"that certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}, more than {grace.days} days "
                "ago: enrol this box again, with a new invitation"
            )
        try:
            who = bearer(certificate)
        except Malformed as error:
            raise NotOurs(f"that certificate is no device's: {error}") from error
        if who.device is None:
            raise NotOurs("that certificate is the control plane's own")
        return Shown(who.device, who.serial, _fingerprint(_ec(certificate)))

    def signed_renewal(self, chain: bytes, nonce: bytes, csr: bytes, signature: bytes) -> bool:
        """Say whether a certificate's key has signed a renewal."""
        try:
            _ec(_first(chain)).verify(signature, signing.renewal(nonce, csr), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def revoked(self, serials: Collection[str], now: datetime) -> bytes:
        """Make the list of revoked certificates (a CRL, RFC 5280, PEM). It holds until there is another."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._issuer.subject)
            .last_update(now - profiles.BACK_DATED)
            .next_update(self._issuer.not_valid_after_utc)  # an expired list would lock every box out
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(_ec(self._issuer)), critical=False)
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)  # RFC 5280, 5.2.3: it grows
        )
        for serial in sorted(serials):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(now).build()
            )
        return self._signer.revocations(builder).public_bytes(_PEM)

    def secret(self, purpose: str) -> str:
        """Derive 128 bits (hex) that only those know who may sign: each of them the same (HKDF, RFC 5869)."""
        return HKDF(hashes.SHA256(), 16, None, b"headwater " + purpose.encode()).derive(self._signer.secret).hex()

    def _own(self, common: str, names: Sequence[x509.GeneralName], now: datetime, *, server: bool) -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        made = self._signer.leaf(csr, profiles.wanted(self._issuer, common[:64], names, now, server=server))
        return Leaf(key_pem(key), self._chain(made), now, made.not_valid_after_utc)

    def _chain(self, made: x509.Certificate) -> bytes:
        above = () if self._issuer == self._root else (self._issuer,)
        return b"".join(one.public_bytes(_PEM) for one in (made, *above))


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key down, unencrypted."""
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _first(chain: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(chain)
    except UNREADABLE as error:
        raise Malformed("that is no certificate in PEM") from error


def _requested(csr: bytes) -> tuple[x509.CertificateSigningRequest, ec.EllipticCurvePublicKey]:
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Malformed("a device's key is a P-256 key")
        if not request.is_signature_valid:  # only now: that of a DSA key may take a tenth of a second
            raise ValueError("its signature does not fit its key")
    except UNREADABLE as error:
        raise Malformed(f"that is no certificate signing request (PKCS #10, DER): {error}") from error
    return request, key


def _ec(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    try:
        key = certificate.public_key()
    except UNREADABLE as error:
        raise NotOurs("that certificate's key can't be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise NotOurs("that certificate is no device's")
    return key


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    return sha256(key.public_bytes(_DER, serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()
