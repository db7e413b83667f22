"""The keys that sign what devices are told to do."""

from datetime import datetime
from typing import Protocol

from headwater_wire.signing import Signer


class Keyring(Protocol):
    """One key signs at a time; the next is announced before it does."""

    def signer(self, now: datetime) -> Signer:
        """Give the key that signs now, with those that agents are to accept."""

    def rotate(self, now: datetime) -> str:
        """Make the next key; give its id."""
