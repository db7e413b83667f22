"""What has happened in one simulated history, in order: the same seed tells the same."""

from dataclasses import dataclass, field
from hashlib import sha256

from tests.simulation.loop import SimulatedLoop


class Broken(AssertionError):
    """A promise was broken."""


@dataclass
class History:
    """Lines of what happened; the first broken promise ends it."""

    loop: SimulatedLoop
    lines: list[str] = field(default_factory=list)
    broken: str = ""

    def note(self, who: str, what: str) -> None:
        """Write a line."""
        self.lines.append(f"{self.loop.now_s:10.4f} {who:<10} {what}")

    def promise(self, kept: bool, name: str, what: str) -> None:
        """Break off if a promise, named by one or two words, is not kept."""
        if not kept:
            self.break_off(name, what)

    def break_off(self, name: str, what: str) -> None:
        """Note the first broken promise, and raise."""
        self.broken = self.broken or f"{name}: {what}"
        self.note("BROKEN", f"{name}: {what}")
        raise Broken(f"{name}: {what}")

    @property
    def fingerprint(self) -> str:
        """Digest all lines."""
        return sha256("\n".join(self.lines).encode()).hexdigest()
