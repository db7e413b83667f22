"""The door of the HTTP API: who comes in proves who they are, by an API token or their identity provider's."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from http import HTTPStatus
from math import ceil

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from headwater_control.core.attempts import Attempts
from headwater_control.core.authority import BadToken, Principal, looks_like_ours
from headwater_control.gates.http import problems
from headwater_control.ports import Busy, IdentityProvider, ProviderAway, Unproven
from headwater_control.service import tokens
from headwater_control.service.authority import acting
from headwater_control.service.caller import caller, calling
from headwater_control.service.world import World

log = logging.getLogger(__name__)

OPEN = frozenset({"/v1/health", "/v1/health/live", "/v1/health/ready", "/v1/ca"})
STRANGER = Principal("a stranger", None)
_LONGEST = 8192  # characters of a token: what servers and proxies take as one header
_REALM = 'Bearer realm="headwater"'
_HOW = "get a token (`headwater token create` by an admin) and log in with `headwater login URL`"


class _Refused(Exception):
    """A call that is not let in."""

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str], *, counts: bool = False) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers
        self.counts = counts  # as a failed attempt


class Recent:
    """Tokens that were good lately, by digest: somebody else's failures from the same address don't shut them out."""

    def __init__(self, most: int = 1000, for_s: float = 600.0) -> None:
        self._most = most
        self._for_s = for_s
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def note(self, token: str, now: float) -> None:
        """Remember one."""
        digest = sha256(token.encode()).digest()
        self._seen.pop(digest, None)
        self._seen[digest] = now
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def has(self, token: str, now: float) -> bool:
        """Say whether one was good within the last minutes; whether it still is must be checked all the same."""
        seen = self._seen.get(sha256(token.encode()).digest())
        return seen is not None and now - seen < self._for_s


@dataclass(frozen=True, slots=True)
class Door:
    """Who proves what: API tokens always, and an identity provider's, if there is one."""

    provider: IdentityProvider | None = None
    attempts: Attempts = field(default_factory=Attempts)
    recent: Recent = field(default_factory=Recent)

    async def admit(self, world: World, source: str, header: str | None) -> Principal:
        """Say who comes with an Authorization header (RFC 6750); raise `_Refused`. Failures are counted by address."""
        now = _seconds(world.clock.now())
        token = _bearer(header)
        wait_s = self.attempts.wait_s(source, now)
        if wait_s > 0 and not (token and self.recent.has(token, now)):
            raise _Refused(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"too many failed attempts from this address: wait {ceil(wait_s)} s, and check the token",
                {"Retry-After": str(ceil(wait_s))},
            )
        try:
            who = await self._proved(world, token)
        except _Refused as refused:
            if refused.counts:
                self.attempts.failed(source, now)
                log.warning("a call from %s was refused: %s", source, str(refused).removesuffix(f": {_HOW}"))
            raise
        self.recent.note(token, now)
        return who

    async def _proved(self, world: World, token: str) -> Principal:
        if not token:
            raise _unauthenticated("this needs a token")
        try:
            if looks_like_ours(token):
                return await tokens.authenticate(world, token)
            if self.provider is None:
                raise BadToken("the token is none of this control plane's, which begin with hw_")
            return await self.provider.principal(token)
        except (BadToken, Unproven) as error:
            raise _unauthenticated(str(error), error="invalid_token") from error
        except (ProviderAway, Busy) as error:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "10"}) from error


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """ASGI middleware. To a few paths strangers come too, with no right to anything that needs a role."""

    app: ASGIApp
    door: Door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the principal known."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).getlist("authorization")
        if not given and scope["path"] in OPEN:
            who = STRANGER
        else:
            source = scope["client"][0] if scope.get("client") else ""
            try:
                # Two headers are none: a proxy in between may have looked at the other one.
                who = await self.door.admit(scope["app"].state.world, source, given[0] if len(given) == 1 else None)
            except _Refused as refused:
                await _answer(scope["path"], refused)(scope, receive, send)
                return
        with ExitStack() as within:
            within.enter_context(acting(who))
            within.enter_context(calling(replace(caller(), who=who.name)))
            await self.app(scope, receive, send)


def _answer(path: str, refused: _Refused) -> Response:
    answer = problems.answer(path, refused.status, str(refused))
    answer.headers.update(refused.headers)
    return answer


def _bearer(header: str | None) -> str:
    """Take the token out of the header; nothing, if there is none that could be one."""
    scheme, _, token = (header or "").partition(" ")
    token = token.strip()
    usable = scheme.lower() == "bearer" and len(token) <= _LONGEST and token.isascii() and token.isprintable()
    return token if usable else ""


def _unauthenticated(why: str, *, error: str = "") -> _Refused:
    challenge = f'{_REALM}, error="{error}"' if error else _REALM
    return _Refused(HTTPStatus.UNAUTHORIZED, f"{why}: {_HOW}", {"WWW-Authenticate": challenge}, counts=True)


def _seconds(at: datetime) -> float:
    return at.timestamp()
