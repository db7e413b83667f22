"""Certificates as an attacker would like to have them, made with the keys of a test's own authority."""

import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_control.edges.ca import Authority, embedded, profiles
from headwater_control.edges.ca.authority import key_pem
from headwater_wire.ids import DeviceId
from headwater_wire.names import device_uri


@dataclass(frozen=True, slots=True)
class Shown:
    """What a connection proves itself by: nothing, without a chain. `root` is whom it believes itself."""

    root: bytes
    key: bytes = b""
    chain: bytes = b""

    @property
    def tls(self) -> ssl.SSLContext:
        """For MQTT and HTTPS."""
        context = ssl.create_default_context(cadata=self.root.decode())
        if self.chain:
            with tempfile.NamedTemporaryFile() as file:
                file.write(self.key + self.chain)
                file.flush()
                context.load_cert_chain(file.name)
        return context

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC."""
        return grpc.ssl_channel_credentials(self.root, self.key or None, self.chain or None)


class Forger:
    """Has the authority's folder, root key included: more than any attacker, so that each certificate can be made."""

    def __init__(self, folder: Path) -> None:
        """Open an authority that `embedded` made there."""
        self._folder = folder
        self.root = x509.load_pem_x509_certificate((folder / "root.pem").read_bytes())
        self.root_pem = self.root.public_bytes(serialization.Encoding.PEM)
        issuing = (folder / "issuing.pem").read_bytes()
        self._issuing = x509.load_pem_x509_certificate(issuing), _key(issuing)

    def leaf(
        self, common: str, uris: Sequence[str], *, at: datetime | None = None, server: bool = False, hosts: str = ""
    ) -> Shown:
        """Sign anything with our issuing key."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(hosts)] if hosts else []
        return self._signed(*self._issuing, common, names, at, server=server)

    def beside(self, device: str) -> Shown:
        """Sign a device's certificate by another intermediate of the same root."""
        key = ec.generate_private_key(ec.SECP256R1())
        root_key = _key((self._folder / "root.key").read_bytes())
        other = profiles.issuer(self.root, root_key, key.public_key(), datetime.now(UTC))
        return self._signed(other, key, device, [x509.UniformResourceIdentifier(device_uri(DeviceId(device)))], None)

    def beneath(self, above: Shown, device: str) -> Shown:
        """Sign a device's certificate with another device's, as if that were an authority."""
        issuer, key = x509.load_pem_x509_certificate(above.chain), _key(above.key)
        names = [x509.UniformResourceIdentifier(device_uri(DeviceId(device)))]
        made = self._signed(issuer, key, device, names, None)
        return Shown(made.root, made.key, made.chain + above.chain)

    def _signed(
        self,
        issuer: x509.Certificate,
        issuer_key: ec.EllipticCurvePrivateKey,
        common: str,
        names: Sequence[x509.GeneralName],
        at: datetime | None,
        *,
        server: bool = False,
    ) -> Shown:
        key = ec.generate_private_key(ec.SECP256R1())
        now = at or datetime.now(UTC)
        asked = profiles.wanted(issuer, common, names, now, server=server)
        made = profiles.leaf(issuer, issuer_key, key.public_key(), asked)
        chain = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (made, issuer))
        return Shown(self.root_pem, key_pem(key), chain)


def foreign(folder: Path, believes: Authority, device: str) -> Shown:
    """Take a device's certificate from an authority that anybody can make for himself."""
    embedded(folder, datetime.now(UTC))
    made = Forger(folder).leaf(device, [device_uri(DeviceId(device))])
    return Shown(believes.root_pem, made.key, made.chain)


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
