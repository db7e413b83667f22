"""What the control plane proves itself by: its certificate authority, its signing keys, its servers' certificate."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from headwater_control.config import BadSetting, Settings, address
from headwater_control.core.claims import OidcSettings, roles_from
from headwater_control.datadir import DataDir
from headwater_control.edges import ca
from headwater_control.edges.keyring import Keyring
from headwater_control.ports import Clock, IdentityProvider
from headwater_control.reach import hosts
from headwater_control.tls import ServerTls, client_context


@dataclass(frozen=True, slots=True)
class Trust:
    """`tls` is None on loopback without TLS. `hosts` are the names that the servers' certificate holds."""

    authority: ca.Authority
    keyring: Keyring
    hosts: tuple[str, ...]
    tls: ServerTls | None
    clock: Clock

    def client(self, name: str) -> ssl.SSLContext:
        """Make what a connection to the broker needs that comes as `name`."""
        return client_context(self.authority, name, self.clock.now())


def provider(settings: Settings, clock: Clock) -> IdentityProvider | None:
    """Make what asks the identity provider, if there is one; raise `BadSetting`."""
    if not settings.oidc_issuer:
        return None
    from headwater_control.edges.oidc import OidcProvider  # a tenth of the start, for whoever has a provider

    try:
        wanted = OidcSettings(
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience,
            roles=roles_from(settings.oidc_roles),
            role_claim=settings.oidc_role_claim,
            labels_claim=settings.oidc_labels_claim,
            jwks_url=settings.oidc_jwks_url,
            algorithms=tuple(name.strip() for name in settings.oidc_algorithms.split(",") if name.strip()),
            ca_file=settings.oidc_ca,
        )
        return OidcProvider(wanted, clock)
    except ValueError as error:
        raise BadSetting(f"the identity provider (oidc_…): {error}") from error


def opened(settings: Settings, data: DataDir, clock: Clock) -> Trust:
    """Open, or make, what is needed; raise `BadSetting`."""
    now = clock.now()
    try:
        authority = (
            ca.brought(Path(settings.ca_chain), Path(settings.ca_key), now)
            if settings.ca_chain
            else ca.embedded(data.ca, now)
        )
        keyring = Keyring(data.keys, now)
    except (ca.BadAuthority, OSError, ValueError) as error:
        raise BadSetting(f"the keys can't be used: {error}") from error
    bound = [address(text, "an address")[0] for text in (settings.http, settings.grpc, settings.enrol, settings.mqtt)]
    names = hosts(settings.public_names, bound)
    return Trust(authority, keyring, names, None if settings.insecure else ServerTls(authority, names, clock), clock)
