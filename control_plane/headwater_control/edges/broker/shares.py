"""How much of a shared subscription each publisher has: one that sends more than is taken fills its own part of it."""

from headwater_control.edges.broker.message import Message
from headwater_control.edges.broker.terms import Bounded

_PACE_S = 1.0


class Shares:
    """What waits, and what a member has not acknowledged yet, by publisher. Memory is bounded by what is there.

    Nobody says when QoS 0 is taken, and buffers on the way hold thousands: of that each may send as many a second.
    """

    def __init__(self, messages: int, size_bytes: int, bounded: Bounded) -> None:
        self._bounded = bounded
        self._limit_messages = messages
        self._limit_bytes = size_bytes
        self._held: dict[str, tuple[int, int]] = {}  # messages and bytes
        self._paced: dict[str, int] = {}  # of QoS 0, until
        self._paced_until = 0.0

    def admit(self, message: Message, now: float) -> bool:
        """Say whether its publisher may have one more; a single one, however large, it always may."""
        messages, size_bytes = self._held.get(message.sender, (0, 0))
        if messages and (messages >= self._limit_messages or size_bytes + message.size_bytes > self._limit_bytes):
            return not self._bounded(message.sender)
        return message.qos > 0 or self._in_pace(message.sender, now) or not self._bounded(message.sender)

    def add(self, message: Message) -> None:
        """Count a message in."""
        messages, size_bytes = self._held.get(message.sender, (0, 0))
        self._held[message.sender] = messages + 1, size_bytes + message.size_bytes

    def remove(self, message: Message) -> None:
        """Count it out: it was taken, or is lost."""
        messages, size_bytes = self._held[message.sender]
        if messages > 1:
            self._held[message.sender] = messages - 1, size_bytes - message.size_bytes
        else:
            del self._held[message.sender]

    def _in_pace(self, sender: str, now: float) -> bool:
        if now >= self._paced_until:
            self._paced.clear()
            self._paced_until = now + _PACE_S
        self._paced[sender] = self._paced.get(sender, 0) + 1
        return self._paced[sender] <= self._limit_messages
