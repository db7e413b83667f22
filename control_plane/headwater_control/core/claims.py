"""What an identity provider says of somebody, and the rights that follow from it here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from headwater_wire.errors import Malformed
from headwater_wire.ids import check_name

from headwater_control.core.authority import Principal, Role

_SUBJECT_CHARS = 200


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """The identity provider whose bearer tokens are taken (OpenID Connect Core 1.0, RFC 9068).

    `roles` says which value of the claim `role_claim` gives which role here; the highest counts.
    """

    issuer: str
    audience: str
    roles: Mapping[str, Role] = field(default_factory=dict)
    role_claim: str = "roles"  # or a path, such as realm_access.roles
    labels_claim: str = ""  # "": nobody is limited; else whoever has no such claim may do nothing
    jwks_url: str = ""  # "": as the issuer's discovery document says
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA", "Ed25519")
    ca_file: str = ""  # PEM; "": the authorities that this machine trusts


class BadClaims(Exception):
    """Claims that name nobody."""


def roles_from(text: str) -> dict[str, Role]:
    """Read a setting such as `fleet-admins=admin; fleet-users=viewer`; raise `ValueError` saying what is wrong.

    A value may itself have `=` and `,` in it, as LDAP's names of groups do.
    """
    roles = {}
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        value, _, role = (part.strip() for part in pair.rpartition("="))
        if not value or role not in {each.value for each in Role}:
            raise ValueError(f"{pair!r}: write VALUE=ROLE, where ROLE is one of {', '.join(Role)}")
        roles[value] = Role(role)
    return roles


def principal_of(claims: Mapping[str, Any], settings: OidcSettings) -> Principal:
    """Say who somebody is and what they may do; raise `BadClaims`."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT_CHARS or not subject.isprintable():
        raise BadClaims(f"the claim sub must be a printable text of at most {_SUBJECT_CHARS} characters")
    name, until = f"oidc:{subject}", _ends(claims.get("exp"))
    try:
        labels = _labels(_found(claims, settings.labels_claim)) if settings.labels_claim else ()
    except Malformed:
        return Principal(name, None, until=until)
    given = _texts(_found(claims, settings.role_claim))
    roles = [settings.roles[value] for value in given if value in settings.roles]
    return Principal(name, max(roles, key=lambda role: role.rank, default=None), labels, until)


def _ends(exp: object) -> datetime | None:
    """Read the time at which a token ends (RFC 7519, 4.1.4: seconds since 1970, perhaps with a fraction)."""
    try:
        return datetime.fromtimestamp(exp, UTC) if isinstance(exp, int | float) else None
    except (ValueError, OverflowError, OSError):  # no calendar goes so far
        return None


def _found(claims: Mapping[str, Any], name: str) -> Any:
    """Read a claim by name, else by a path of names: providers nest their own claims."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(each for each in values if isinstance(each, str))


def _labels(value: Any) -> tuple[tuple[str, str], ...]:
    """Read an object, or a list of key=value; raise `Malformed` for anything else, and for no labels at all."""
    if isinstance(value, Mapping):
        pairs = [(key, item) for key, item in value.items()]
    else:
        pairs = [(key, item) for key, _, item in (text.partition("=") for text in _texts(value))]
        if isinstance(value, list) and len(pairs) != len(value):
            raise Malformed("a label that is no text")
    if not pairs or not all(isinstance(item, str) for _, item in pairs):
        raise Malformed("no labels")
    return tuple(sorted((check_name(key, "label"), check_name(item, "label value")) for key, item in pairs))
