"""Who may do what: tokens of people, invitations and standings of boxes, as plain records."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is known of an API token: everything but its secret."""

    id: str
    name: str
    role: str  # viewer, operator, approver, admin
    created_at: datetime
    created_by: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    expires_at: datetime | None = None  # None: never
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token with its text, which is told this once."""

    token: ApiToken
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """Who asks, and what they may do. `role` None: nothing; `labels` limit what they reach."""

    name: str
    role: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    until: datetime | None = None  # when the token ends; None: never


@dataclass(frozen=True, slots=True)
class Invite:
    """An invitation to enrol; `device` is empty if any box may come. `state`: open, used up, expired, withdrawn."""

    id: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    device: str
    labels: dict[str, str]
    uses: int
    used: int
    state: str = ""
    ended_at: datetime | None = None  # by its last use or its withdrawal; None: by its time alone


@dataclass(frozen=True, slots=True)
class NewInvite:
    """An invitation with the line to paste on the box: it is told only once."""

    id: str
    expires_at: datetime
    device: str
    labels: dict[str, str]
    uses: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a device may come in: `disabled_at` is None if it may."""

    device: str
    enrolled_at: datetime
    disabled_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class NewKey:
    """The id of a key that will sign what devices are told to do."""

    key: str
