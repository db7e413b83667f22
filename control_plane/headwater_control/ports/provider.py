"""Who somebody is, by the word of an identity provider."""

from typing import Protocol

from headwater_control.core.authority import Principal


class Unproven(Exception):
    """A token that proves nothing: the message says why, in words fit for whoever sent it."""


class ProviderAway(Exception):
    """The identity provider's keys can't be had, so nothing can be checked: try again later."""


class IdentityProvider(Protocol):
    """Such as Keycloak, Dex or Entra ID."""

    async def principal(self, token: str) -> Principal:
        """Say who sent a token; raise `Unproven` or `ProviderAway`."""
