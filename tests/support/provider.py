"""A small identity provider: a real HTTP server on this machine, with real keys."""

import hmac
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from headwater_control.core.authority import Role
from headwater_control.core.claims import OidcSettings
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from tests.fakes.clock import START

AUDIENCE = "headwater"
Key = RSAKey | ECKey | OKPKey | OctKey


class _Careless(jws.JWSRegistry):
    """Signs with whatever algorithm and header it is told to, as an attacker would."""

    def get_alg(self, name: str) -> Any:
        """Give any."""
        return self.algorithms[name]

    def check_header(self, header: Any) -> None:
        """Look away."""


@cache
def rsa(kid: str = "rsa-1", bits: int = 2048) -> RSAKey:
    """Make an RSA key, once."""
    return RSAKey.generate_key(bits, {"kid": kid, "use": "sig"})


@dataclass
class Provider:
    """Publishes `keys`, counts what it is asked, and signs whatever it is told to."""

    url: str = ""
    keys: list[Key] = field(default_factory=list)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # instead of the right ones
    asked: list[str] = field(default_factory=list)

    def settings(self, **more: Any) -> OidcSettings:
        """Say how it is to be trusted."""
        roles = {"fleet-viewers": Role.VIEWER, "fleet-operators": Role.OPERATOR, "fleet-admins": Role.ADMIN}
        return OidcSettings(**{"issuer": self.url, "audience": AUDIENCE, "roles": roles, "role_claim": "groups"} | more)

    def token(self, key: Key | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign claims, by default good ones of ann, an operator; a claim given as None is left out."""
        key = key or self.keys[0]
        now = int(START.timestamp())
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "exp": now + 300, "nbf": now, "iat": now}
        told = {**good, "groups": ["fleet-operators"], **claims}
        head = {"alg": _algorithm(key), "kid": key.kid, "typ": "JWT", **(header or {})}
        body = json.dumps({name: value for name, value in told.items() if value is not None})
        return jws.serialize_compact({k: v for k, v in head.items() if v is not None}, body, key, registry=_Careless())

    def confused(self, secret: bytes) -> str:
        """Sign good claims with HMAC, where the secret is what everybody can read (joserfc would refuse to)."""
        _, body, _ = self.token().split(".")
        head = _spelled(json.dumps({"alg": "HS256", "kid": self.keys[0].kid, "typ": "JWT"}).encode())
        return f"{head}.{body}.{_spelled(hmac.digest(secret, f'{head}.{body}'.encode(), 'sha256'))}"

    def answer(self, path: str) -> tuple[int, bytes]:
        """Say what is at a path."""
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == "/.well-known/openid-configuration":
            return 200, json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        if path == "/keys":
            return 200, json.dumps({"keys": [key.as_dict(private=False) for key in self.keys]}).encode()
        return 404, b"{}"


@contextmanager
def provider(*keys: Key) -> Iterator[Provider]:
    """Serve while the context lasts."""
    told = Provider(keys=list(keys or (rsa(),)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = told.answer(self.path)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


def _spelled(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _algorithm(key: Key) -> str:
    match key:
        case RSAKey():
            return "RS256"
        case ECKey():
            return "ES256"
        case OKPKey():
            return "Ed25519"
    return "HS256"
