"""Identifiers that a test can foresee."""

from collections import Counter
from hashlib import sha256


class FakeIds:
    """Counts for each prefix: `run-000001`, `run-000002`, `task-000001`."""

    def __init__(self) -> None:
        self._made: Counter[str] = Counter()

    def new(self, prefix: str) -> str:
        """Make the next one of a prefix."""
        self._made[prefix] += 1
        return f"{prefix}-{self._made[prefix]:06d}"

    def secret(self) -> bytes:
        """Draw the next secret, which everybody can guess."""
        return sha256(self.new("secret").encode()).digest()
