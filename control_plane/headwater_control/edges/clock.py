"""The real clock, and ids made from it."""

import asyncio
import secrets
import time
from datetime import UTC, datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letter that looks like a digit
_LENGTH = 16  # 41 bits of milliseconds (69 years), and 39 that keep apart what replicas make in the same one
_RANDOM_BITS = 39
_EPOCH_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z


class SystemClock:
    """The machine's."""

    def now(self) -> datetime:
        """Tell the time, aware, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SystemIds:
    """Names such as `run-1d3kz8q0v2m4x7qa`: each sorts after those made before it, elsewhere too to the millisecond."""

    def __init__(self) -> None:
        self._last = 0

    def new(self, prefix: str) -> str:
        """Make an identifier, unique even if the machine's clock is set back."""
        now = (time.time_ns() // 1_000_000 - _EPOCH_MS) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        self._last = max(self._last + 1, now)
        digits = ((self._last >> 5 * place) & 31 for place in reversed(range(_LENGTH)))
        return f"{prefix}-{''.join(_ALPHABET[digit] for digit in digits)}"

    def secret(self) -> bytes:
        """Draw 32 bytes that nobody can guess."""
        return secrets.token_bytes(32)
