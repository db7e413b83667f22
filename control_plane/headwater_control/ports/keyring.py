"""The keys that sign what devices are told to do."""

from datetime import datetime
from typing import Protocol

from headwater_wire.signing import Signer


class Keyring(Protocol):
    """One key signs at a time; the next is announced before it does.

    A new one comes in two steps, so that something can be written down between them. Both are durable on return, and
    block: call them in a thread.
    """

    def signer(self, now: datetime) -> Signer:
        """Give the key that signs now, with those that agents are to accept."""

    @property
    def prepared(self) -> str:
        """Name the key that is prepared and not settled; "": there is none."""

    def prepare(self) -> str:
        """Make the next key, unless one is prepared; give its id. It is accepted from now on, and never signs."""

    def settle(self, key: str, now: datetime) -> None:
        """Let a prepared key sign in its turn, as one that was made now; one that is not prepared stays as it is."""
