"""What a company with a step-ca has: a root, an intermediate, a provisioner; and what it tells Headwater of them."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_control.edges.ca import Authority, profiles
from headwater_control.edges.ca.authority import key_pem
from headwater_control.edges.ca.step_ca import at_step_ca
from joserfc.jwk import ECKey

PROVISIONER = "headwater"
_PEM = serialization.Encoding.PEM


OURS = """{
    "subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}, "keyUsage": ["digitalSignature"],
    "extKeyUsage": [{{ if eq (index .SANs 0).Type "uri" }}"clientAuth"{{ else }}"serverAuth"{{ end }}]
}"""
DEFAULT = ""  # step-ca's own: each is good for servers and clients
RENAMING = '{"subject": {"commonName": "whatever"}, "sans": {{ toJson .SANs }}, "extKeyUsage": ["clientAuth"]}'
ISSUING = """{
    "subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}, "extKeyUsage": ["clientAuth"],
    "basicConstraints": {"isCA": true, "maxPathLen": 0}
}"""


@dataclass(frozen=True)
class Rules:
    """What its provisioner allows: certificates of so many hours, by this template, that may be renewed there."""

    most_hours: int = 2208
    template: str = OURS
    renewal: bool = False


class Company:
    """Its files in a folder."""

    def __init__(self, folder: Path, rules: Rules) -> None:
        now = datetime.now(UTC)
        root_key, self.key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.root = profiles.root(root_key, "Example root", now)
        self.issuer = profiles.issuer(self.root, root_key, self.key.public_key(), now)
        self.rules = rules
        self.provisioner = ECKey.generate_key("P-256", private=True, auto_kid=True)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._write("root.pem", self.root.public_bytes(_PEM))
        self._write("issuing.pem", self.issuer.public_bytes(_PEM))
        self._write("issuing.key", key_pem(self.key))
        self._write("chain.pem", self.issuer.public_bytes(_PEM) + self.root.public_bytes(_PEM))
        self.tell(self.provisioner.as_dict(private=True))

    def tell(self, key: Any) -> None:
        """Give Headwater this key for the provisioner's."""
        self._write("provisioner.json", json.dumps(key).encode())

    def authority(self, url: str) -> Authority:
        """Open the authority as the control plane does."""
        chain, key = self.folder / "chain.pem", self.folder / "provisioner.json"
        return at_step_ca(chain, url, PROVISIONER, key, datetime.now(UTC))

    def settings(self, url: str) -> dict[str, str]:
        """Give the control plane's settings, by environment."""
        return {
            "HEADWATER_CA_CHAIN": str(self.folder / "chain.pem"),
            "HEADWATER_CA_URL": url,
            "HEADWATER_CA_PROVISIONER": PROVISIONER,
            "HEADWATER_CA_PROVISIONER_KEY": str(self.folder / "provisioner.json"),
        }

    def _write(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)


def names_of(certificate: x509.Certificate) -> list[str]:
    """List a certificate's alternative names."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(str(name.value) for name in found)
