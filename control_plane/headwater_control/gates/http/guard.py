"""Keeps requests out that a web page elsewhere has smuggled in, and bodies that are too large."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater_control.gates.http import problems
from headwater_control.reach import is_loopback

JSON_LIMIT_BYTES = 1024 * 1024
JSON_WITHIN_S = 30.0
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Guard:
    """ASGI middleware. `uploads` are the paths to which a POST may carry a file, `hosts` further names of ours."""

    app: ASGIApp
    file_limit_bytes: int
    uploads: frozenset[str]
    hosts: frozenset[str] = frozenset()  # lower case, without port
    json_within_s: float = JSON_WITHIN_S  # that a body which is no file may take

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        file = scope["path"] in self.uploads
        limit = self.file_limit_bytes if file else JSON_LIMIT_BYTES
        host = headers.get("host", "")
        if not self._is_ours(host):
            # A page whose name resolves to our address (DNS rebinding) would be of one origin with us.
            names = " or ".join(("127.0.0.1", "localhost", *sorted(self.hosts)))
            detail = f"the Host header is {host[:80]!r}: reach the control plane as {names}"
            await problems.answer(scope["path"], HTTPStatus.MISDIRECTED_REQUEST, detail)(scope, receive, send)
        elif scope["method"] not in _SAFE and "origin" in headers and _place(headers["origin"]) != host:
            detail = f"a page of {headers['origin'][:80]!r} may not change anything here"
            await problems.answer(scope["path"], HTTPStatus.FORBIDDEN, detail)(scope, receive, send)
        elif (length := headers.get("content-length", "0")).isdecimal() and int(length) > limit:
            await problems.answer(scope["path"], HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large(limit))(
                scope, receive, send
            )
        else:
            counted = _counted(receive, limit)
            await self.app(scope, counted if file else _hurried(counted, self.json_within_s), send)

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        return name is not None and (name in self.hosts or is_loopback(name))


def too_large(limit: int) -> str:
    """Say what the limit is."""
    return f"the body is larger than {limit:,} bytes; model_size_limit_mb in the configuration is the limit for files"


def _counted(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counting() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large(limit))
        return message

    return counting


def _hurried(receive: Receive, within_s: float) -> Receive:
    """Wait so long for a whole body: who sends one byte a minute would be served for years."""
    ends = asyncio.get_running_loop().time() + within_s
    complete = False

    async def hurrying() -> Message:
        nonlocal complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(ends):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the body came too slowly: send it again") from error
        complete = not message.get("more_body", False)
        return message

    return hurrying


def _place(origin: str) -> str:
    """Give an origin's host and port; nothing, if it is no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _name(host: str) -> str | None:
    """Take the port off, in lower case; None, if that is no name."""
    try:
        return urlsplit(f"//{host}").hostname if "@" not in host else None
    except ValueError:
        return None
