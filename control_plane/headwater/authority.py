"""A control plane's certificate authority, fetched before it is trusted and recognised by its fingerprint."""

import hmac
import re
import ssl
from hashlib import sha256

import httpx

from headwater.errors import HeadwaterError, Invalid, Unexpected, Unreachable

_MOST_BYTES = 64 * 1024
_TIMEOUT_S = 10.0
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)  # RFC 7468, 5


class Impostor(HeadwaterError):
    """Who answers has another certificate authority than the one expected."""

    def __init__(self, url: str, expected: str, found: str) -> None:
        super().__init__(
            f"{url} is of another certificate authority: sha256:{found}, and sha256:{expected} is expected. Either the "
            "fingerprint is another control plane's, or somebody stands between: nothing was sent but the question"
        )
        self.url = url


def fetched(url: str, fingerprint: str) -> str:
    """Fetch the root certificate (PEM) from a server that nothing is known of yet; raise `Impostor` if it's not that.

    No secret is sent, and the connection proves nothing: the SHA-256 of the certificate's DER does.
    """
    expected = parsed(fingerprint)
    first = _CERTIFICATE.search(_asked(url.rstrip("/")))
    try:
        der = ssl.PEM_cert_to_DER_cert(first[0] if first else "")
    except ValueError as error:
        raise Unexpected(f"{url} answered with something that is no certificate: is that a control plane?") from error
    found = sha256(der).hexdigest()
    if not hmac.compare_digest(found, expected):
        raise Impostor(url, expected, found)
    return ssl.DER_cert_to_PEM_cert(der)  # made of what was checked, and of nothing else in the answer


def parsed(fingerprint: str) -> str:
    """Read sha256:HEX, with or without colons between; raise `Invalid`."""
    digits = fingerprint.strip().lower().removeprefix("sha256:").replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise Invalid(f"{fingerprint[:100]!r} is no fingerprint: write sha256: and the 64 digits that follow it")
    return digits


def _asked(url: str) -> str:
    try:
        with (
            httpx.Client(verify=False, timeout=_TIMEOUT_S, trust_env=False) as client,  # noqa: S501 (see `fetched`)
            client.stream("GET", f"{url}/v1/ca") as answer,
        ):
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > _MOST_BYTES:
                    break
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise Unreachable(url, str(error) or type(error).__name__) from error
    if answer.status_code != httpx.codes.OK or len(data) > _MOST_BYTES:
        raise Unexpected(f"{url}/v1/ca answered {answer.status_code} and no certificate: is that a control plane?")
    return data.decode("ascii", "replace")
