"""The operator's side: the SDK and the command line."""

from headwater.client import Client
from headwater.errors import (
    Conflict,
    Damaged,
    Forbidden,
    HeadwaterError,
    Invalid,
    NotFound,
    Unauthenticated,
    Unexpected,
    Unfinished,
    Unreachable,
    Untrusted,
)

__all__ = [
    "Client",
    "Conflict",
    "Damaged",
    "Forbidden",
    "HeadwaterError",
    "Invalid",
    "NotFound",
    "Unauthenticated",
    "Unexpected",
    "Unfinished",
    "Unreachable",
    "Untrusted",
]
