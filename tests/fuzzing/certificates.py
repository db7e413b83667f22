"""Certificates and requests that strangers show: nothing but `Malformed` and `NotOurs` comes out of what reads them."""

import base64
import random
import warnings
from datetime import timedelta

from cryptography.utils import CryptographyDeprecationWarning
from headwater_control import certificates
from headwater_control.edges.ca import Authority, profiles
from headwater_control.edges.ca.signer import KeySigner
from headwater_control.ports.issuer import NotOurs
from headwater_wire.errors import Malformed

from tests.fuzzing import der
from tests.fuzzing.damage import damaged

_GRACE = timedelta(days=30)
_SPLICES = (
    b"\x30\x80", b"\x30\x00", b"\x05\x00", b"\x02\x01\x00", b"\xa0\x03\x02\x01\x05", b"\xa3\x00", b"\x17\x00",
    b"\x06\x03\x2a\x03\x04", b"\x06\x03\x55\x1d\x11", b"\x86\x00", b"\x04\x00", b"\x03\x02\x00\x00", b"\xff",
)  # fmt: skip
_EXAMINE, _RENEW, _REQUEST, _DER, _PEM = range(5)


class Certificates:
    """An input begins with who reads it (one byte)."""

    def __init__(self) -> None:
        root = profiles.root(der.key(1), "root", der.NOW)
        self._authority = Authority(
            root, root, KeySigner(root, der.key(1))
        )  # an issuer beneath it would have another name each time
        self._certificates = der.certificates(root, der.key(1))
        self._requests = der.requests()

    def make(self, source: random.Random) -> bytes:
        """Mostly damage what is signed and sign it again, as somebody could who has a key of ours, or their own."""
        kind = source.choice((_EXAMINE, _EXAMINE, _EXAMINE, _RENEW, _REQUEST, _REQUEST, _REQUEST, _DER, _DER, _PEM))
        if kind == _REQUEST:
            whole, by = source.choice(self._requests)
        else:
            whole, by = source.choice(self._certificates), der.key(1)
        draw = source.random()
        if draw < 0.6:
            whole = der.wrapped(damaged(der.inside(whole), source, _SPLICES), by, source)
        elif draw < 0.9:
            whole = damaged(whole, source, _SPLICES)
        if kind in (_REQUEST, _DER):
            return bytes((kind,)) + whole
        text = pem(whole)
        return bytes((kind,)) + (damaged(text, source) if source.random() < 0.1 else text)

    def check(self, data: bytes) -> str:
        """Show it."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # of serial numbers below 1
                self._read(data[0], data[1:])
        except (Malformed, NotOurs) as error:
            if not str(error):
                raise AssertionError("it is refused without a reason") from error
            return "not ours" if isinstance(error, NotOurs) else "malformed"
        return "accepted"

    def _read(self, kind: int, shown: bytes) -> None:
        if kind == _EXAMINE:
            self._authority.examine(shown, der.NOW, _GRACE)
        elif kind == _RENEW:
            self._authority.signed_renewal(shown, b"nonce", b"request", b"signature")
        elif kind == _REQUEST:
            self._authority.key_of(shown)
        elif kind == _DER:
            certificates.from_der(shown)
        else:
            certificates.from_pem(shown)


def pem(data: bytes) -> bytes:
    """Write a certificate as PEM."""
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(data) + b"-----END CERTIFICATE-----\n"
