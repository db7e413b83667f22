"""Certificates from Smallstep's step-ca, whose issuing key never leaves it: its HTTPS API, with a JWK provisioner.

Each request (`POST /1.0/sign`) bears a one-time token: a JSON Web Token (RFC 7519), signed with the provisioner's key,
of what the certificate is to be for.
"""

import json
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from headwater_control.certificates import UNREADABLE
from headwater_control.edges.ca import profiles
from headwater_control.edges.ca.authority import Authority, Leaf
from headwater_control.edges.ca.files import brought_chain
from headwater_control.edges.ca.signer import BadAuthority
from headwater_control.ports.issuer import CantIssue

_SIGN, _RENEW = "/1.0/sign", "/1.0/renew"
_PATIENCE_S = 10.0
_GOOD_FOR_S = 300  # of a token; step-ca takes none that is good for longer
_LIFE_HOURS = int((profiles.LEAF_LIFE + profiles.BACK_DATED).total_seconds() // 3600)
_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384"}
_PEM = serialization.Encoding.PEM

_E = TypeVar("_E", bound=x509.ExtensionType)


def at_step_ca(chain: Path, url: str, provisioner: str, key: Path, now: datetime) -> Authority:
    """Open the authority whose issuing key a step-ca has; `chain` is its intermediate and its root.

    Raises `BadAuthority`, also if boxes could renew their certificates there, past us; `CantIssue` if it is away.
    """
    issuer, root = brought_chain(chain, now)
    signer = StepCa(issuer, root, url, provisioner, _provisioner_key(key))
    authority = Authority(root, issuer, signer)
    if signer.renews(authority.control("control:start", now)):
        raise BadAuthority(
            "step-ca renews certificates by itself, also those of boxes that are shut out here: set disableRenewal "
            "among the provisioner's claims (docs/control-plane.md)"
        )
    return authority


class StepCa:
    """Implements Signer by asking. What it answers is believed only as far as it is what was asked for."""

    def __init__(
        self, issuer: x509.Certificate, root: x509.Certificate, url: str, provisioner: str, key: ECKey
    ) -> None:
        if not _is_secure(url):
            raise BadAuthority(f"ca_url is {url!r}: write https://host:port, where step-ca answers")
        if key.private_key is None:
            raise BadAuthority("ca_provisioner_key holds a public key: the private one is needed")
        self._issuer = issuer
        self._trusted = root.public_bytes(_PEM).decode("ascii")
        self._url = url.rstrip("/")
        self._provisioner = provisioner
        self._key = key
        self._private = key.private_key

    @property
    def secret(self) -> bytes:
        """Give the provisioner's own number."""
        return self._private.private_numbers().private_value.to_bytes(66, "big")

    def leaf(self, csr: x509.CertificateSigningRequest, wanted: profiles.Wanted) -> x509.Certificate:
        """Have a certificate signed; raise `CantIssue`."""
        names = [str(name.value) for name in wanted.names]
        body = {
            "csr": csr.public_bytes(_PEM).decode("ascii"),
            "ott": self._token(wanted.common, names),
            "notBefore": _spelled(wanted.begins),
            "notAfter": _spelled(wanted.ends),
        }
        answer = self._asked(_SIGN, body)
        try:
            told = answer.json()
        except ValueError as error:
            raise CantIssue(f"what answers at {self._url} is no step-ca") from error
        if not answer.is_success:
            raise CantIssue(f"step-ca refuses a certificate for {wanted.common}: {_reason(told)}")
        return self._checked(told, csr, wanted)

    def renews(self, leaf: Leaf) -> bool:
        """Say whether it gives whoever has a certificate another one without our word; raise `CantIssue`."""
        return self._asked(_RENEW, {}, leaf).is_success

    def revocations(self, builder: x509.CertificateRevocationListBuilder) -> x509.CertificateRevocationList:
        """Step-ca signs no list of ours. The control plane's own settings don't lead here."""
        raise CantIssue("step-ca signs no list of revoked certificates for us: mosquitto needs Headwater's own CA")

    def _asked(self, what: str, body: Mapping[str, str], shown: Leaf | None = None) -> httpx.Response:
        context = ssl.create_default_context(cadata=self._trusted)
        if shown is not None:
            shown.load(context)
        try:
            with httpx.Client(verify=context, timeout=_PATIENCE_S, trust_env=False) as client:
                return client.post(self._url + what, json=body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            why = str(error) or type(error).__name__
            raise CantIssue(f"step-ca can't be reached at {self._url}: {why}") from error

    def _token(self, subject: str, names: list[str]) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._provisioner,
            "aud": self._url + _SIGN,
            "sub": subject,
            "sans": names,
            "iat": now,
            "nbf": now - 60,  # for a clock that is a little behind ours
            "exp": now + _GOOD_FOR_S - 60,
            "jti": secrets.token_hex(32),
        }
        header = {"alg": _ALGORITHMS[str(self._key.curve_name)], "kid": self._key.kid, "typ": "JWT"}
        return jwt.encode(header, claims, self._key, algorithms=list(_ALGORITHMS.values()))

    def _checked(self, told: object, csr: x509.CertificateSigningRequest, wanted: profiles.Wanted) -> x509.Certificate:
        try:
            made = x509.load_pem_x509_certificate(told["crt"].encode("ascii"))  # type: ignore[index]
            made.verify_directly_issued_by(self._issuer)
            key, said = made.public_key(), _Said.by(made)
        except (KeyError, AttributeError, *UNREADABLE) as error:
            raise CantIssue(
                "step-ca's answer holds no certificate by the first one in ca_chain: is that its intermediate?"
            ) from error
        if key != csr.public_key() or said != _Said.asked(wanted):
            raise CantIssue(
                f"step-ca made a certificate that says something else than was asked for {wanted.common}: give the "
                "provisioner the template in docs/control-plane.md"
            )
        return made


@dataclass(frozen=True, slots=True)
class _Said:
    """What decides whom a certificate lets in, and for what it is taken: a client's must not pass for a server's."""

    commons: tuple[str, ...]
    names: frozenset[x509.GeneralName]
    usages: frozenset[x509.ObjectIdentifier]
    may_issue: bool
    ends: datetime

    @classmethod
    def asked(cls, wanted: profiles.Wanted) -> Self:
        """Say what it should."""
        usages = frozenset({profiles.usage(server=wanted.server)})
        return cls((wanted.common,), frozenset(wanted.names), usages, False, wanted.ends.replace(microsecond=0))

    @classmethod
    def by(cls, made: x509.Certificate) -> Self:
        """Read what one says."""
        constraints = _extension(made, x509.BasicConstraints)
        return cls(
            tuple(str(name.value) for name in made.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)),
            frozenset(_extension(made, x509.SubjectAlternativeName) or ()),
            frozenset(_extension(made, x509.ExtendedKeyUsage) or ()),
            constraints is not None and constraints.ca,
            made.not_valid_after_utc,
        )


def _extension(made: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return made.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_secure(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _provisioner_key(file: Path) -> ECKey:
    try:
        document = json.loads(file.read_bytes())
        key = ECKey.import_key(document)
        if key.curve_name not in _ALGORITHMS:
            raise ValueError("it must be of P-256 or P-384")
        if not isinstance(document.get("kid"), str):
            key.ensure_kid()  # its thumbprint (RFC 7638), as step-ca names keys
    except OSError as error:
        raise BadAuthority(f"can't read {file}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, JoseError) as error:
        raise BadAuthority(
            f"{file} holds no private key of a provisioner (JWK, without a password; `step crypto jwe decrypt` takes "
            f"one away): {error}"
        ) from error
    return key


def _spelled(moment: datetime) -> str:
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _reason(told: object) -> str:
    """Read step-ca's own word; it tells little to strangers, and more in its log."""
    said = told.get("message") if isinstance(told, Mapping) else None
    return (
        f"{str(said)[:500] if said else 'it says nothing.'} Its log says more; the provisioner must allow certificates "
        f"of {_LIFE_HOURS} hours (maxTLSCertDuration)"
    )
