"""The operator's side: the SDK and the command line."""

from headwater.client import Client
from headwater.errors import (
    Conflict,
    Damaged,
    HeadwaterError,
    Invalid,
    NotFound,
    Unexpected,
    Unfinished,
    Unreachable,
)

__all__ = [
    "Client",
    "Conflict",
    "Damaged",
    "HeadwaterError",
    "Invalid",
    "NotFound",
    "Unexpected",
    "Unfinished",
    "Unreachable",
]
