"""Certificates: issuing them, and judging those that are shown."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from headwater_wire.ids import DeviceId

from headwater_control.core.identity import Certificate


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate: its record, and itself with its issuer's (PEM)."""

    record: Certificate
    chain: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate of ours says. `key` is the SHA-256 (hex) of its public key."""

    device: DeviceId
    serial: str
    key: str


class NotOurs(Exception):
    """A certificate that does not let anybody in."""


class CantIssue(Exception):
    """No certificate is to be had now: whoever signs them is out of reach, or says why not."""


class Issuer(Protocol):
    """The certificate authority. What can't be read raises `Malformed`."""

    @property
    def root_pem(self) -> bytes:
        """Give the certificate that agents believe."""

    @property
    def fingerprint(self) -> bytes:
        """Give the root's SHA-256, of its DER."""

    def device(self, device: DeviceId, csr: bytes, now: datetime) -> Issued:
        """Issue a device's certificate for the key in a CSR (PKCS #10, DER), whatever else that says.

        It may ask another machine, and wait for it: call it by `issuing.issued`. Raises `CantIssue`.
        """

    def key_of(self, csr: bytes) -> str:
        """Tell the SHA-256 of the key in a CSR."""

    def examine(self, chain: bytes, now: datetime, grace: timedelta) -> Shown:
        """Say whose certificate (PEM, the first) this is; raise `NotOurs`, also if it ended before `grace`."""

    def signed_renewal(self, chain: bytes, nonce: bytes, csr: bytes, signature: bytes) -> bool:
        """Say whether a certificate's key has signed a renewal."""

    def revoked(self, serials: Collection[str], now: datetime) -> bytes:
        """Make the list of revoked certificates (a CRL, PEM)."""
