"""Who this box is: its key and certificate, the root it believes, the keys whose orders it obeys, on disk.

`device.pem` holds the private key and the certificate chain; `control-plane.json` what it needs to know of the other
side. `device.key` is a key that waits for its first certificate.
"""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from headwater_wire import durable, signing
from headwater_wire.errors import WireError
from headwater_wire.ids import DeviceId, check_name

from headwater_agent.config import Address
from headwater_agent.ports import AgentError


class NotEnrolled(AgentError):
    """There is no identity, or none that can be read."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """What a box knows of the control plane. Addresses are host:port."""

    root: str  # PEM
    keys: tuple[str, ...]  # public Ed25519 keys, hex
    enrolment: str
    gateway: str
    broker: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A box's key and certificate, and what it knows of the control plane."""

    device: DeviceId
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    control_plane: ControlPlane

    @property
    def begins(self) -> datetime:
        """Say from when on the certificate holds."""
        return self.chain[0].not_valid_before_utc

    @property
    def ends(self) -> datetime:
        """Say until when the certificate holds."""
        return self.chain[0].not_valid_after_utc

    @property
    def chain_pem(self) -> bytes:
        """Give the certificate and its issuers' as PEM."""
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in self.chain)

    @property
    def key_pem(self) -> bytes:
        """Give the private key as PEM."""
        return _key_pem(self.key)

    @property
    def keys(self) -> dict[str, bytes]:
        """Give the keys whose orders count, by id."""
        return _keys(self.control_plane)


class Vault:
    """The folder of the identity: for its owner only, each file whole or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.pem = folder / "device.pem"
        self._known = folder / "control-plane.json"
        self._waiting = folder / "device.key"

    def load(self) -> Identity:
        """Read the identity; raise `NotEnrolled`."""
        try:
            pem = self.pem.read_bytes()
        except FileNotFoundError as error:
            raise NotEnrolled(
                "this box is not enrolled: let an operator run `headwater device invite`, and paste the line it "
                "prints here"
            ) from error
        except OSError as error:
            raise NotEnrolled(f"can't read {self.pem}: {error.strerror}; run as the user the agent runs as") from error
        try:
            known = _control_plane(json.loads(self._known.read_bytes()))
            chain = tuple(x509.load_pem_x509_certificates(pem))
            key = _key(pem)
            if chain[0].public_key() != key.public_key():
                raise ValueError("its certificate is for another key")
            return Identity(_named(chain[0]), key, chain, known)
        except (OSError, ValueError, KeyError, TypeError, IndexError, WireError) as error:
            raise NotEnrolled(f"the identity in {self._folder} is damaged ({error}): enrol this box again") from error

    def new_key(self) -> ec.EllipticCurvePrivateKey:
        """Make a P-256 key, or give the one whose enrolment was cut short: repeated, that is the same enrolment.

        Raises `NotEnrolled` if that one is damaged.
        """
        if self._waiting.is_file():
            try:
                return _key(self._waiting.read_bytes())
            except (ValueError, TypeError) as error:
                raise NotEnrolled(
                    f"{self._waiting} is damaged ({error}): remove it, and enrol this box again"
                ) from error
        key = ec.generate_private_key(ec.SECP256R1())
        self._write(self._waiting, _key_pem(key))
        return key

    def keep(self, identity: Identity) -> None:
        """Remember an identity, durably."""
        self.remember(identity.control_plane)
        self._write(self.pem, identity.key_pem + identity.chain_pem)
        durable.remove(self._waiting, durably=True)

    def remember(self, known: ControlPlane) -> None:
        """Remember what is known of the control plane, durably."""
        self._write(self._known, json.dumps(asdict(known), indent=1).encode() + b"\n")

    def pin(self, keys: signing.Keys) -> None:
        """Remember other signing keys, durably."""
        known = _control_plane(json.loads(self._known.read_bytes()))
        self.remember(replace(known, keys=tuple(sorted(key.hex() for key in keys.values()))))

    def _write(self, place: Path, data: bytes) -> None:
        durable.make_dirs(self._folder, private=True)
        durable.write(place, data, private=True)
        owner = self._folder.parent.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:  # enrolled by root, for a service with a user of its own
            for path in (self._folder, place):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)  # it can put links there


def tls(root: str, pem: Path) -> ssl.SSLContext:
    """Make what a client needs to prove who it is, and to believe only servers that the root vouches for."""
    context = ssl.create_default_context(cadata=root)
    context.load_cert_chain(pem)
    return context


def request(key: ec.EllipticCurvePrivateKey, device: str) -> bytes:
    """Ask for a certificate (PKCS #10, DER). The server believes only the key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
    signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def place(address: str) -> Address:
    """Read host:port; raise ValueError."""
    before, _, port = address.rpartition(":")
    host = before.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{address[:100]!r} is no address: host:port")
    return Address(host, int(port))


def _control_plane(tree: Mapping[str, object]) -> ControlPlane:
    keys = tree["keys"]
    if not isinstance(keys, list):
        raise TypeError("its keys are no list")
    known = ControlPlane(
        root=str(tree["root"]),
        keys=tuple(str(key) for key in keys),
        enrolment=str(tree["enrolment"]),
        gateway=str(tree["gateway"]),
        broker=str(tree["broker"]),
    )
    for address in (known.enrolment, known.gateway, known.broker):
        place(address)
    if len(x509.load_pem_x509_certificates(known.root.encode())) != 1:
        raise ValueError("there is one root, and no other")
    _keys(known)
    return known


def _keys(known: ControlPlane) -> dict[str, bytes]:
    return signing.keys_of(signing.key_set([bytes.fromhex(key) for key in known.keys]))


def _named(certificate: x509.Certificate) -> DeviceId:
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return DeviceId(check_name(str(name.value), "device"))


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("its key is no P-256 key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
