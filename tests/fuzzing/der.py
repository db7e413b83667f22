"""What a certificate and a request for one are made of (DER, RFC 5280 and RFC 2986), so that odd ones can be signed."""

import random
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from headwater_control.edges.ca import profiles
from headwater_wire.ids import DeviceId
from headwater_wire.names import CONTROL, device_uri

from tests.fakes.clock import FakeClock

NOW = FakeClock().now()
_DER = serialization.Encoding.DER
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_ALGORITHMS = (
    _ECDSA_SHA256, _ECDSA_SHA256, _ECDSA_SHA256, _ECDSA_SHA256,
    bytes.fromhex("300506032b6570"),  # Ed25519
    bytes.fromhex("300d06092a864886f70d01010b0500"),  # RSA with SHA-256
    bytes.fromhex("300906052a03040506"), bytes.fromhex("3000"),
)  # fmt: skip


def key(number: int) -> ec.EllipticCurvePrivateKey:
    """Give the P-256 key of a number: the same each time, so that an input can be tried again."""
    return ec.derive_private_key(number, ec.SECP256R1())


def wrapped(content: bytes, by: ec.EllipticCurvePrivateKey, source: random.Random) -> bytes:
    """Sign the inside of a certificate or a request, whatever it says; sometimes claim another algorithm."""
    signature = by.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    algorithm = _ECDSA_SHA256 if source.random() < 0.9 else source.choice(_ALGORITHMS)
    return _tagged(0x30, content + algorithm + _tagged(0x03, b"\0" + signature))


def certificates(issuer: x509.Certificate, by: ec.EllipticCurvePrivateKey) -> list[bytes]:
    """Make certificates of every kind (DER): devices', servers', the control plane's, and such as nobody issues."""
    mine = key(11).public_key()
    named: list[list[x509.GeneralName]] = [
        [x509.UniformResourceIdentifier(device_uri(DeviceId("box-1")))],
        [x509.UniformResourceIdentifier(device_uri(DeviceId("box-1")))],
        [x509.UniformResourceIdentifier(CONTROL)],
        [x509.UniformResourceIdentifier("urn:headwater:device:../x")],
        [x509.UniformResourceIdentifier(CONTROL), x509.DNSName("a")],
        [x509.UniformResourceIdentifier(CONTROL), x509.UniformResourceIdentifier(CONTROL)],
        [x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), x509.DirectoryName(profiles.name("x"))],
        list(profiles.server_names(["a.example", "127.0.0.1"])),
    ]
    found = [_leaf(issuer, by, mine, names, NOW) for names in named]
    found.append(_leaf(issuer, by, mine, named[0], NOW - timedelta(days=400)))
    found.append(issuer)
    return [one.public_bytes(_DER) for one in (*found, _foreign(named[0]))]


def requests() -> list[tuple[bytes, ec.EllipticCurvePrivateKey]]:
    """Make requests (DER), with a key to sign them again: of P-256 keys, and of kinds that are not taken."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box-1")])
    )
    asking = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("a")]), critical=True)
    made = [
        (builder.sign(key(11), hashes.SHA256()), key(11)),
        (asking.sign(key(12), hashes.SHA256()), key(12)),
        (builder.sign(ec.derive_private_key(5, ec.SECP384R1()), hashes.SHA256()), key(11)),
        (builder.sign(ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32), None), key(11)),
        (builder.sign(rsa.generate_private_key(65_537, 1024), hashes.SHA256()), key(11)),
    ]
    return [(one.public_bytes(_DER), by) for one, by in made]


def inside(data: bytes) -> bytes:
    """Take the part that is signed out of a certificate or a request."""
    start, end = _contents(data, 0)
    assert end == len(data)
    return data[start : _contents(data, start)[1]]


def _foreign(names: list[x509.GeneralName]) -> x509.Certificate:
    root = profiles.root(key(21), "stranger", NOW)
    return _leaf(root, key(21), key(11).public_key(), names, NOW)


def _leaf(
    issuer: x509.Certificate,
    by: ec.EllipticCurvePrivateKey,
    mine: ec.EllipticCurvePublicKey,
    names: list[x509.GeneralName],
    now: datetime,
) -> x509.Certificate:
    return profiles.leaf(issuer, by, mine, profiles.wanted(issuer, "box-1", names, now, server=False))


def _tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _contents(data: bytes, at: int) -> tuple[int, int]:
    size, start = data[at + 1], at + 2
    if size >= 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[at + 2 : start], "big")
    return start, start + size
