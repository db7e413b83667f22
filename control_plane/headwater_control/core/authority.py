"""Who may do what: roles, the principals that have one, and the tokens that prove it."""

import re
from binascii import crc32
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest

SECRET_BYTES = 32
_SHAPE = re.compile(r"hw_([A-Za-z0-9][A-Za-z0-9.-]{0,62})_([0-9a-f]{64})([0-9a-f]{8})")


class Role(StrEnum):
    """What somebody may do, each including all before: look; train; ship; give rights."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Say how high it is: a text's own order is the alphabet's."""
        return list(Role).index(self)


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has proved who they are. Without a role they may do nothing; `labels` limit what they reach."""

    name: str
    role: Role | None
    labels: tuple[tuple[str, str], ...] = ()
    until: datetime | None = field(default=None, compare=False)  # when the proof ends, not the person; None: never

    def may(self, needed: Role) -> bool:
        """Say whether the role is high enough."""
        return self.role is not None and self.role.rank >= needed.rank

    def reaches(self, labels: tuple[tuple[str, str], ...]) -> bool:
        """Say whether what has `labels` lies within the limits: a device's own, a run's cohort, a rollout's labels.

        What belongs to everybody has no labels, so only somebody without limits reaches it.
        """
        return set(self.labels) <= set(labels)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A secret that proves a name and a role. `hash` is all that is kept of the secret: its SHA-256, hex."""

    id: str
    name: str  # of no other token, ever: the audit log tells them apart by it
    hash: str
    role: Role
    labels: tuple[tuple[str, str], ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None  # None: never
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None  # to the minute

    @property
    def principal(self) -> Principal:
        """Say who uses it."""
        return Principal(f"token:{self.name}", self.role, self.labels, self.expires_at)


class BadToken(Exception):
    """A token that proves nothing: the message says why, without the secret."""


@dataclass(frozen=True, slots=True)
class TokenText:
    """A token as it is sent: which one it claims to be, and its secret."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"TokenText({self.id!r}, …)"


def spelled(token: TokenText) -> str:
    """Write it as hw_ID_SECRET, with a checksum at the end that tells a mistyped one from a foreign one."""
    text = f"hw_{token.id}_{token.secret.hex()}"
    return f"{text}{crc32(text.encode('ascii')):08x}"


def looks_like_ours(text: str) -> bool:
    """Say whether a text means to be one of our tokens, and not an identity provider's."""
    return text.startswith("hw_")


def parsed(text: str) -> TokenText:
    """Read what `spelled` wrote; raise `BadToken`."""
    match = _SHAPE.fullmatch(text)
    if match is None or crc32(text[:-8].encode("ascii")) != int(match[3], 16):
        raise BadToken("the token is damaged: copy all of it, from hw_ to its end")
    return TokenText(match[1], bytes.fromhex(match[2]))


def hashed(secret: bytes) -> str:
    """Give what is kept of a secret. It has 256 random bits, so no slow hash is needed (NIST SP 800-63B, 5.1.2.2)."""
    return sha256(secret).hexdigest()


def accepted(known: ApiToken | None, text: TokenText, now: datetime) -> Principal:
    """Say who sent a token; raise `BadToken`. Whoever lacks the secret learns nothing of the token."""
    if known is None or not compare_digest(known.hash, hashed(text.secret)):
        raise BadToken("this control plane knows no such token")
    if known.revoked_at is not None:
        raise BadToken(f"the token {known.name} was revoked")
    if known.expires_at is not None and known.expires_at <= now:
        raise BadToken(f"the token {known.name} expired at {known.expires_at:%Y-%m-%d %H:%M} UTC")
    return known.principal
