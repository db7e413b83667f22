"""API tokens, by the SDK."""

from collections.abc import Mapping
from typing import Any

from headwater.rights import ApiToken, NewToken
from headwater.transport import Transport


class Tokens:
    """`client.tokens`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        *,
        role: str = "viewer",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = 90 * 86_400.0,
    ) -> NewToken:
        """Make a token: viewer, operator, approver or admin, limited to `labels`; `ttl_s` None: it does not expire.

        Its text can't be read again.
        """
        wanted: dict[str, Any] = {"name": name, "role": role, "labels": dict(labels or {}), "ttl_s": ttl_s}
        return self._transport.post(NewToken, "/v1/tokens", wanted)

    def list(self) -> tuple[ApiToken, ...]:
        """List them, expired and revoked ones too, oldest first."""
        return self._transport.get_all(ApiToken, "/v1/tokens")

    def revoke(self, token: str) -> ApiToken:
        """End a token's life now, by its id."""
        return self._transport.post(ApiToken, f"/v1/tokens/{token}/revoke")
