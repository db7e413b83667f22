"""Identifiers that a test can foresee."""

from collections import Counter


class FakeIds:
    """Counts for each prefix: `run-000001`, `run-000002`, `task-000001`."""

    def __init__(self) -> None:
        self._made: Counter[str] = Counter()

    def new(self, prefix: str) -> str:
        """Make the next one of a prefix."""
        self._made[prefix] += 1
        return f"{prefix}-{self._made[prefix]:06d}"
