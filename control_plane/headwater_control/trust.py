"""What the control plane proves itself by: its certificate authority, its signing keys, its servers' certificate."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headwater_wire import durable

from headwater_control.config import BadSetting, Settings, address
from headwater_control.core.claims import OidcSettings, roles_from
from headwater_control.datadir import DataDir
from headwater_control.edges import ca
from headwater_control.edges.keyring import Keyring
from headwater_control.ports import CantIssue, Clock, IdentityProvider
from headwater_control.reach import hosts
from headwater_control.tls import ClientTls, ServerTls


@dataclass(frozen=True, slots=True)
class Trust:
    """`tls` is None on loopback without TLS. `hosts` are the names that the servers' certificate holds."""

    authority: ca.Authority
    keyring: Keyring
    hosts: tuple[str, ...]
    tls: ServerTls | None
    client: ClientTls


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
        authority = _authority(settings, data, now)
        keyring = Keyring(data.keys, now)
    except OSError as error:
        if durable.refused(error):  # told with what to do by whoever started us
            raise
        raise BadSetting(f"the keys can't be used: {error.strerror or error}, {error.filename}") from error
    except CantIssue as error:
        raise BadSetting(f"the certificate authority issues nothing: {error}") from error
    except (ca.BadAuthority, ValueError) as error:
        raise BadSetting(f"the keys can't be used: {error}") from error
    bound = [address(text, "an address")[0] for text in (settings.http, settings.grpc, settings.enrol, settings.mqtt)]
    names = hosts(settings.public_names, bound)
    try:
        tls = None if settings.insecure else ServerTls(authority, names, clock)
    except CantIssue as error:
        raise BadSetting(f"the servers' certificate is not to be had: {error}") from error
    return Trust(authority, keyring, names, tls, ClientTls(authority, clock))


def _authority(settings: Settings, data: DataDir, now: datetime) -> ca.Authority:
    chain = Path(settings.ca_chain)
    if settings.ca_url:
        from headwater_control.edges.ca.step_ca import at_step_ca  # a tenth of the start, for whoever has one

        return at_step_ca(chain, settings.ca_url, settings.ca_provisioner, Path(settings.ca_provisioner_key), now)
    return ca.brought(chain, Path(settings.ca_key), now) if settings.ca_chain else ca.embedded(data.ca, now)
