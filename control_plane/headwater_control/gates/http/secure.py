"""Headers that tell a browser to be careful, on every answer."""

from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_OVER_TLS = {"Strict-Transport-Security": "max-age=31536000"}  # RFC 6797; over plain HTTP browsers must ignore it


def put(headers: MutableHeaders, scheme: str) -> None:
    """Set what is not set yet."""
    for name, value in (_ALWAYS | (_OVER_TLS if scheme == "https" else {})).items():
        headers.setdefault(name, value)


@dataclass(frozen=True, slots=True)
class Secure:
    """ASGI middleware."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and complete the answer's headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                put(MutableHeaders(scope=message), scope["scheme"])
            await send(message)

        await self.app(scope, receive, completed)
