"""Who this box is: its key and certificate, the root it believes, the keys whose orders it obeys, on disk.

`device.pem` holds the private key and the certificate chain; `control-plane.json` what it needs to know of the other
side; `certificate.json` what the certificate says, so that a start need not read it. `device.key` is a key that waits
for its first certificate.
"""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from headwater_wire import durable, signing
from headwater_wire.errors import WireError
from headwater_wire.ids import DeviceId, check_name

from headwater_agent.config import Address
from headwater_agent.ports import AgentError

if TYPE_CHECKING:  # whoever needs more than a start does imports it, and ten megabytes
    from collections.abc import Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


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
    """A box's key and certificate as PEM, and what it knows of the control plane."""

    device: DeviceId
    key_pem: bytes = field(repr=False)
    chain_pem: bytes  # the certificate and its issuers'
    begins: datetime
    ends: datetime
    control_plane: ControlPlane

    @property
    def key(self) -> "ec.EllipticCurvePrivateKey":
        """Read the private key."""
        from headwater_agent.edges.certificates import read_key

        return read_key(self.key_pem)

    @property
    def chain(self) -> "tuple[x509.Certificate, ...]":
        """Read the certificate and its issuers'."""
        from headwater_agent.edges.certificates import read_chain

        return read_chain(self.chain_pem)

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
        self._said = folder / "certificate.json"
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
            return self._recalled(pem, known) or _parsed(pem, known)
        except (OSError, ValueError, KeyError, TypeError, IndexError, WireError) as error:
            raise NotEnrolled(f"the identity in {self._folder} is damaged ({error}): enrol this box again") from error

    def new_key(self) -> "ec.EllipticCurvePrivateKey":
        """Make a P-256 key, or give the one whose enrolment was cut short: repeated, that is the same enrolment.

        Raises `NotEnrolled` if that one is damaged.
        """
        from headwater_agent.edges import certificates

        if self._waiting.is_file():
            try:
                return certificates.read_key(self._waiting.read_bytes())
            except (ValueError, TypeError) as error:
                raise NotEnrolled(
                    f"{self._waiting} is damaged ({error}): remove it, and enrol this box again"
                ) from error
        key = certificates.new_key()
        self._write(self._waiting, certificates.key_pem(key))
        return key

    def keep(self, identity: Identity) -> None:
        """Remember an identity, durably."""
        self.remember(identity.control_plane)
        pem = identity.key_pem + identity.chain_pem
        self._write(self.pem, pem)
        said = {
            "of": _digest(pem, identity.control_plane),
            "device": identity.device,
            "begins": identity.begins.isoformat(),
            "ends": identity.ends.isoformat(),
        }
        self._write(self._said, json.dumps(said, indent=1).encode() + b"\n")
        durable.remove(self._waiting, durably=True)

    def remember(self, known: ControlPlane) -> None:
        """Remember what is known of the control plane, durably."""
        self._write(self._known, json.dumps(asdict(known), indent=1).encode() + b"\n")

    def pin(self, keys: signing.Keys) -> None:
        """Remember other signing keys, durably."""
        known = _control_plane(json.loads(self._known.read_bytes()))
        self.remember(replace(known, keys=tuple(sorted(key.hex() for key in keys.values()))))

    def _recalled(self, pem: bytes, known: ControlPlane) -> Identity | None:
        """Give what was checked when it was written; nothing, if something has changed since or it was not noted."""
        try:
            said = json.loads(self._said.read_bytes())
            if said["of"] != _digest(pem, known):
                return None
            device = DeviceId(check_name(said["device"], "device"))
            begins, ends = (datetime.fromisoformat(said[key]) for key in ("begins", "ends"))
        except (OSError, ValueError, KeyError, TypeError, WireError):  # the certificate itself says it
            return None
        here = pem.index(_CERTIFICATE)
        return Identity(device, pem[:here], pem[here:], begins, ends, known)

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


def identify(key: "ec.EllipticCurvePrivateKey", chain: "Sequence[x509.Certificate]", known: ControlPlane) -> Identity:
    """Make an identity; raise ValueError, `IndexError` or `WireError` if the chain is not one of the key."""
    from headwater_agent.edges.certificates import read_paper

    paper = read_paper(key, chain)
    return Identity(paper.device, paper.key_pem, paper.chain_pem, paper.begins, paper.ends, known)


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
    _keys(known)
    return known


def _keys(known: ControlPlane) -> dict[str, bytes]:
    return signing.keys_of(signing.key_set([bytes.fromhex(key) for key in known.keys]))


def _parsed(pem: bytes, known: ControlPlane) -> Identity:
    from headwater_agent.edges.certificates import read_chain, read_key

    if len(read_chain(known.root.encode())) != 1:
        raise ValueError("there is one root, and no other")
    return identify(read_key(pem), read_chain(pem), known)


def _digest(pem: bytes, known: ControlPlane) -> str:
    """Name what was checked: the key, the chain and the root."""
    return sha256(pem + b"\0" + known.root.encode()).hexdigest()
