"""An OpenID Connect provider's word on who somebody is: its keys, fetched now and then, and tokens checked by them."""

import asyncio
import ipaddress
import json
import logging
import ssl
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from headwater_control.core.authority import Principal
from headwater_control.core.claims import BadClaims, OidcSettings, principal_of
from headwater_control.ports import Clock, ProviderAway, Unproven

log = logging.getLogger(__name__)

_LEEWAY_S = 30
_FRESH = timedelta(hours=1)
_USABLE = timedelta(hours=24)  # a provider that is away for a while locks nobody out
_AGAIN = timedelta(minutes=1)  # so often an unknown key has the keys fetched anew
_AGAIN_AFTER_FAILURE = timedelta(seconds=10)
_FETCH_S = 5.0
_DOCUMENT_BYTES = 256 * 1024
_KEYS = 100
_KINDS: Mapping[str, type[RSAKey] | type[ECKey] | type[OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
# RFC 7518, 3.1; RFC 8037, 3.1; RFC 9864. None is symmetric: the keys are public, and everybody could sign with them.
_FITS = {
    **{f"{family}{size}": ("RSA", None) for family in ("RS", "PS") for size in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})  # RFC 8725, 3.11: no token of another kind
_UNREADABLE = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class BadProvider(ValueError):
    """Settings that no provider can be asked with: the message says which, and what to write."""


class _Registry(jws.JWSRegistry):
    """Knows the pinned algorithms only. joserfc warns of the name EdDSA, which providers still use."""

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise JoseError(f"the algorithm {name!r} is not allowed")
        return self.algorithms[name]


@dataclass(frozen=True, slots=True)
class _Key:
    """A public key, and what may be done with it."""

    id: str | None
    kind: str
    curve: str | None
    algorithm: str | None  # None: any that fits
    key: RSAKey | ECKey | OKPKey

    def fits(self, algorithm: str, kid: str | None) -> bool:
        kind, curve = _FITS[algorithm]
        named = kid is None or self.id == kid
        return named and self.kind == kind and curve in (None, self.curve) and self.algorithm in (None, algorithm)


@dataclass(frozen=True, slots=True)
class _Keys:
    keys: tuple[_Key, ...]
    at: datetime


class OidcProvider:
    """Implements `IdentityProvider`. Nothing is fetched before the first token comes."""

    def __init__(self, settings: OidcSettings, clock: Clock) -> None:
        """Raise `BadProvider` for what can't be right."""
        for url in (settings.issuer, *([settings.jwks_url] if settings.jwks_url else [])):
            if not _is_safe(url):
                raise BadProvider(f"the identity provider's address {url!r} must begin with https://")
        if not settings.algorithms or not set(settings.algorithms) <= set(_FITS):
            raise BadProvider(f"of {settings.algorithms} not all can be used: choose among {', '.join(_FITS)}")
        self._settings = settings
        self._clock = clock
        self._registry = _Registry(algorithms=settings.algorithms, strict_check_header=False)
        self._known: _Keys | None = None
        self._next_try: datetime | None = None
        self._turn = asyncio.Lock()

    async def principal(self, token: str) -> Principal:
        """Say who sent a token; raise `Unproven` or `ProviderAway`."""
        algorithm, kid = self._header(token)
        key = await self._key(algorithm, kid)
        try:
            claims = jwt.decode(token, key.key, registry=self._registry).claims
            self._rules().validate(claims)
            return principal_of(claims, self._settings)
        except (*_UNREADABLE, BadClaims) as error:
            raise Unproven(f"the identity provider's token is not valid here: {_told(error)}") from error

    def _header(self, token: str) -> tuple[str, str | None]:
        """Read what a token says of its key. Keys that it brings along (jwk, jku, x5c) are not looked at."""
        try:
            header = jws.extract_compact(token.encode("ascii"), registry=self._registry).headers()
        except _UNREADABLE as error:
            raise Unproven("the token is neither one of this control plane's (hw_…) nor a JSON Web Token") from error
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.algorithms:
            raise Unproven("the token is signed with an algorithm that is not allowed here")
        if not isinstance(kid, str | None) or str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise Unproven("the token is of a kind that is no bearer token")
        return str(algorithm), kid

    def _rules(self) -> jwt.JWTClaimsRegistry:
        """RFC 7519, 4.1."""
        return jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    async def _key(self, algorithm: str, kid: str | None) -> _Key:
        found = self._fitting(algorithm, kid)
        if found is None or self._older_than(_FRESH):
            await self._refresh()
            found = self._fitting(algorithm, kid)
        if self._older_than(_USABLE):
            raise ProviderAway("the identity provider's keys can't be fetched: try again later, or use an API token")
        if found is None:
            raise Unproven("the token is signed with a key that the identity provider does not publish")
        return found

    def _fitting(self, algorithm: str, kid: str | None) -> _Key | None:
        """Choose the key; a token that names none may mean the only one of its kind."""
        fit = [key for key in self._known.keys if key.fits(algorithm, kid)] if self._known else []
        return fit[0] if len(fit) == 1 else None

    def _older_than(self, age: timedelta) -> bool:
        return self._known is None or self._clock.now() - self._known.at >= age

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was tried just now; whoever comes meanwhile waits for it."""
        async with self._turn:
            now = self._clock.now()
            if self._next_try is not None and now < self._next_try:
                return
            try:
                async with asyncio.timeout(_FETCH_S):
                    self._known = _Keys(await self._fetched(), now)
                self._next_try = now + _AGAIN
            except (httpx.HTTPError, OSError, *_UNREADABLE) as error:
                self._next_try = now + _AGAIN_AFTER_FAILURE
                log.warning("the keys of %s can't be fetched: %s", self._settings.issuer, _told(error))

    async def _fetched(self) -> tuple[_Key, ...]:
        context = ssl.create_default_context(cafile=self._settings.ca_file or None)
        async with httpx.AsyncClient(verify=context, timeout=_FETCH_S, trust_env=False) as client:
            url = self._settings.jwks_url or await self._discovered(client)
            published = (await _document(client, url))["keys"]
        return tuple(key for each in published[:_KEYS] if (key := _imported(each)) is not None)

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        """OpenID Connect Discovery 1.0, 4: where the keys are; the issuer must be the very one."""
        issuer = self._settings.issuer
        document = await _document(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        url = str(document["jwks_uri"])
        if document["issuer"] != issuer:
            raise ValueError(f"its discovery document is of the issuer {document['issuer']!r}")
        if not _is_safe(url):
            raise ValueError(f"its keys are at {url!r}, which is not https")
        return url


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """Read a JSON object of limited size; redirects are not followed."""
    data = bytearray()
    async with client.stream("GET", url) as answer:
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"{url} answered {answer.status_code}")
        async for chunk in answer.aiter_bytes():
            data += chunk
            if len(data) > _DOCUMENT_BYTES:
                raise ValueError(f"{url} answered with more than {_DOCUMENT_BYTES:,} bytes")
    tree = json.loads(data)
    if not isinstance(tree, dict):
        raise TypeError(f"{url} answered with something that is no JSON object")
    return tree


def _imported(data: Any) -> _Key | None:
    """Take a public key that signatures are checked with (RFC 7517); of any other kind, or too short: None."""
    if not isinstance(data, dict) or data.get("use", "sig") != "sig":
        return None
    kind = str(data.get("kty"))
    if kind not in _KINDS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)  # RSA below 2048 bits
            key = _KINDS[kind].import_key(data)
    except (*_UNREADABLE, SecurityWarning):
        return None
    return _Key(data.get("kid"), kind, data.get("crv"), data.get("alg"), key)


def _is_safe(url: str) -> bool:
    """Say whether nobody between can forge the keys: https, or this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    try:
        return parts.scheme == "http" and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def _told(error: BaseException) -> str:
    """Say what is wrong, without the token: libraries quote claims, never the signature."""
    return str(error) or type(error).__name__
