"""What a single value from the wire may be: such as a database and a screen can take."""

import sys
from math import isfinite

from headwater_wire.errors import Malformed

TOLD_AT_ONCE = 1000  # things of a kind in a Sync: each is looked up while all other devices wait


def count(value: int, what: str) -> int:
    """Return an unsigned number that a database's signed 64 bits can hold; raise `Malformed` for a larger one."""
    if value >= 1 << 63:
        raise Malformed(f"{what} is {value}: too large to be true")
    return value


def measure(value: float) -> float:
    """Return a finite number: a NaN or an infinity, which neither JSON nor SQLite can hold, as the largest there is."""
    return value if isfinite(value) else sys.float_info.max


def text(value: str, limit: int) -> str:
    """Return at most so many characters of words for a person, without NUL, which PostgreSQL can't hold."""
    return value[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}")
