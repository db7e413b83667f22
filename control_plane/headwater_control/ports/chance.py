"""Time and names, so that both can be foreseen in tests."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time, so that it can be virtual."""

    def now(self) -> datetime:
        """Tell the time, aware, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Ids(Protocol):
    """Names for new things, so that they can be foreseen in tests."""

    def new(self, prefix: str) -> str:
        """Make an identifier such as `run-3k9x0c2m1q`, unique and sortable by time of making."""

    def secret(self) -> bytes:
        """Draw 32 bytes that nobody can guess."""
