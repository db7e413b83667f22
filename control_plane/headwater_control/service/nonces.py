"""Nonces that a renewal signs: made and checked without a memory of them, good for a minute, in this process."""

import hmac
import secrets
from datetime import datetime, timedelta

_GOOD_FOR = timedelta(minutes=1)
_RANDOM_BYTES = 16
_TIME_BYTES = 8
_MAC_BYTES = 32


class Nonces:
    """Each says until when it is good, under a MAC (HMAC, RFC 2104) whose key was drawn at the start.

    To use one twice is harmless: it can only renew the same key's certificate once more.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def new(self, now: datetime) -> bytes:
        """Make one."""
        ends_ms = int((now + _GOOD_FOR).timestamp() * 1000)
        body = ends_ms.to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_RANDOM_BYTES)
        return body + self._mac(body)

    def good(self, nonce: bytes, now: datetime) -> bool:
        """Say whether we made it, and not too long ago."""
        body, mac = nonce[:-_MAC_BYTES], nonce[-_MAC_BYTES:]
        if len(body) != _TIME_BYTES + _RANDOM_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            return False
        return now.timestamp() * 1000 < int.from_bytes(body[:_TIME_BYTES], "big")

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")
