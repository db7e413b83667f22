"""Gives each request an id, and says who asks."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwater_control.core.audit import Caller
from headwater_control.core.authority import Principal, Role
from headwater_control.service.authority import acting
from headwater_control.service.caller import calling

LOOPBACK = Principal("loopback", Role.ADMIN)  # where there is no door, only this machine's users get in
_HEADER = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Callers:
    """ASGI middleware. A client may choose the id of its request, as one short token in X-Request-ID."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and send the id back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get(_HEADER, "")
        request = wanted if _ID.fullmatch(wanted) else scope["app"].state.world.ids.new("request")
        scope["request_id"] = request

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[_HEADER] = request
            await send(message)

        host = scope["client"][0] if scope.get("client") else ""
        with acting(LOOPBACK), calling(Caller(LOOPBACK.name, host, request)):
            await self.app(scope, receive, told)
