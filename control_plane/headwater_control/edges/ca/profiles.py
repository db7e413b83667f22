"""The kinds of certificate there are (RFC 5280): what stands in each, and for how long it holds."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACK_DATED = timedelta(hours=48)  # a box whose clock is a day slow must not find its new certificate in the future
LEAF_LIFE = timedelta(days=90)
AUTHORITY_LIFE = timedelta(days=20 * 365)


def name(common: str) -> x509.Name:
    """Spell a subject."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def root(key: ec.EllipticCurvePrivateKey, common: str, now: datetime) -> x509.Certificate:
    """Make a root, which vouches for itself."""
    builder = _authority(name(common), key.public_key(), now, AUTHORITY_LIFE, path_length=1).issuer_name(name(common))
    return builder.sign(key, hashes.SHA256())


def issuer(
    above: x509.Certificate, above_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.Certificate:
    """Make an intermediate, which may sign leaves only."""
    common = f"Headwater issuing {x509.random_serial_number():x}"[:40]
    life = min(AUTHORITY_LIFE, above.not_valid_after_utc - now)
    builder = _authority(name(common), key, now, life, path_length=0).issuer_name(above.subject)
    return _beneath(builder, above_key.public_key()).sign(above_key, hashes.SHA256())


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a certificate for a server, or for a client, is to say."""

    common: str
    names: tuple[x509.GeneralName, ...]
    begins: datetime
    ends: datetime
    server: bool


def wanted(
    above: x509.Certificate, common: str, names: Sequence[x509.GeneralName], now: datetime, *, server: bool
) -> Wanted:
    """Say what a certificate beneath another one is to say."""
    ends = min(now + LEAF_LIFE, above.not_valid_after_utc)
    return Wanted(common, tuple(names), now - BACK_DATED, ends, server)


def usage(*, server: bool) -> x509.ObjectIdentifier:
    """Say what a certificate is for; never both, or a box could pass for a server of its own name."""
    return ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH


def leaf(
    above: x509.Certificate, above_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePublicKey, asked: Wanted
) -> x509.Certificate:
    """Make a certificate for a server, or for a client."""
    builder = (
        _dated(name(asked.common), key, asked.begins, asked.ends)
        .issuer_name(above.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage(server=asked.server)]), critical=False)
        .add_extension(x509.SubjectAlternativeName(asked.names), critical=False)
    )
    return _beneath(builder, above_key.public_key()).sign(above_key, hashes.SHA256())


def server_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Spell hosts as alternative names: addresses as addresses."""
    return [_server_name(host) for host in dict.fromkeys(hosts)]


def _server_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _authority(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta, *, path_length: int
) -> x509.CertificateBuilder:
    return (
        _dated(subject, key, now - BACK_DATED, now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )


def _dated(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _beneath(builder: x509.CertificateBuilder, above: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
