"""What the broker counts, and the remarks it has for the log."""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum


class Drop(Enum):
    """Why a message that had a subscriber was not delivered."""

    QUEUE_FULL = "the subscriber's queue is full"
    SHARE_FULL = "its publisher's part of a shared subscription is full"
    BROKER_FULL = "the broker's queues together are full"
    EXPIRED = "its expiry interval passed"
    TOO_LARGE = "it exceeds the subscriber's maximum packet size"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a person may want to know of one client."""

    client: str
    what: str


@dataclass(slots=True)
class Tally:
    """Totals since the start, and remarks since the last `take_remarks`."""

    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    messages_in: int = 0
    messages_out: int = 0
    redelivered: int = 0
    refused: int = 0  # publishes and subscriptions the ACL did not allow
    malformed: int = 0  # connections closed over what was sent on them
    stalled: int = 0  # connections closed because nothing was read on them
    drops: Counter[Drop] = field(default_factory=Counter)
    _remarks: list[Remark] = field(default_factory=list)

    def drop(self, client: str, why: Drop, of_client: int) -> None:
        """Count a lost message. `of_client` counts that client's: only the 1st, 2nd, 4th, 8th … are remarked."""
        self.drops[why] += 1
        if of_client & (of_client - 1) == 0:
            self.remark(client, f"{of_client} messages dropped so far, the last because {why.value}")

    def remark(self, client: str, what: str) -> None:
        """Say something for the log."""
        self._remarks.append(Remark(client, what))

    def take_remarks(self) -> list[Remark]:
        """Hand over what was remarked."""
        remarks, self._remarks = self._remarks, []
        return remarks
