"""Messages that wait: a queue bounded in number and bytes, of which QoS 0 is given up first."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headwater_control.edges.broker.message import Message, Parcel
from headwater_control.edges.broker.tally import Drop, Tally


@dataclass(slots=True)
class Budget:
    """The bytes that all mailboxes and unacknowledged messages together may hold."""

    limit_bytes: int
    used_bytes: int = 0

    def has_room(self, size_bytes: int) -> bool:
        """Say whether so many bytes more may be held."""
        return self.used_bytes + size_bytes <= self.limit_bytes

    def hold(self, parcel: Parcel) -> None:
        """Count a parcel in, for its publisher too if it is one of a shared subscription."""
        self.used_bytes += parcel.message.size_bytes
        if parcel.group is not None:
            parcel.group.shares.add(parcel.message)

    def release(self, parcel: Parcel) -> None:
        """Count it out."""
        self.used_bytes -= parcel.message.size_bytes
        if parcel.group is not None:
            parcel.group.shares.remove(parcel.message)


class Mailbox:
    """First in, first out, within each QoS; QoS 0 can overtake while QoS 1 may not be sent."""

    def __init__(self, owner: str, messages: int, size_bytes: int, budget: Budget, tally: Tally) -> None:
        self._owner = owner
        self._limit_messages = messages
        self._limit_bytes = size_bytes
        self._budget = budget
        self._tally = tally
        # each entry with the number of its arrival, by which the two are merged
        self._queues: tuple[deque[tuple[int, Parcel]], ...] = (deque(), deque())
        self._arrivals = 0
        self._bytes = 0
        self._dropped = 0
        self._soonest_expiry = float("inf")

    def __len__(self) -> int:
        return len(self._queues[0]) + len(self._queues[1])

    @property
    def size_bytes(self) -> int:
        """What it holds."""
        return self._bytes

    def put(self, parcel: Parcel, now: float) -> bool:
        """Take a parcel in, at the cost of older QoS 0 ones if need be; say False if there is no room even so."""
        if self._full(parcel) is not None and self._soonest_expiry <= now:
            self._purge(now)
        while (why := self._full(parcel)) is not None:
            if not self._queues[0]:
                self.lose(why)
                return False
            self._out(self._queues[0].popleft()[1])
            self.lose(why)
        self._arrivals += 1
        self._queues[parcel.qos].append((self._arrivals, parcel))
        self._in(parcel)
        return True

    def put_back(self, parcel: Parcel) -> None:
        """Take in, as the first, a parcel that had its place before: no bound is checked."""
        queue = self._queues[parcel.qos]
        queue.appendleft((queue[0][0] - 1 if queue else 0, parcel))
        self._in(parcel)

    def pop(self, now: float, *, qos1: bool = True) -> Parcel | None:
        """Hand out the oldest that has not expired, of QoS 0 only unless `qos1`."""
        zeros, ones = self._queues
        while zeros or (qos1 and ones):
            queue = zeros if not ones or not qos1 or (zeros and zeros[0][0] < ones[0][0]) else ones
            parcel = queue.popleft()[1]
            self._out(parcel)
            if not parcel.message.expired(now):
                return parcel
            self.lose(Drop.EXPIRED)
        return None

    def forget_qos0(self) -> None:
        """Let go what is not kept for an absent client."""
        for _, parcel in self._queues[0]:
            self._out(parcel)
        self._queues[0].clear()

    def forget_sender(self, sender: str) -> None:
        """Let go what one publisher sent."""
        self._sift(lambda message: message.sender != sender)

    def clear(self) -> None:
        """Let go everything."""
        for queue in self._queues:
            for _, parcel in queue:
                self._out(parcel)
            queue.clear()

    def lose(self, why: Drop, whose: str = "") -> None:
        """Count a message that is lost, by the owner's fault unless it is told whose."""
        self._dropped += 1
        self._tally.drop(whose or self._owner, why, self._dropped)

    def __iter__(self) -> Iterator[Parcel]:
        return (parcel for _, parcel in sorted((*self._queues[0], *self._queues[1]), key=lambda entry: entry[0]))

    def _full(self, parcel: Parcel) -> Drop | None:
        size = parcel.message.size_bytes
        if len(self) >= self._limit_messages or self._bytes + size > self._limit_bytes:
            return Drop.QUEUE_FULL
        return None if self._budget.has_room(size) else Drop.BROKER_FULL

    def _purge(self, now: float) -> None:
        for _ in range(self._sift(lambda message: not message.expired(now))):
            self.lose(Drop.EXPIRED)
        self._soonest_expiry = min((parcel.message.expires_at or float("inf") for parcel in self), default=float("inf"))

    def _sift(self, wanted: Callable[[Message], bool]) -> int:
        """Let go what is not wanted; say how many those are."""
        before = len(self)
        for queue in self._queues:
            entries = tuple(queue)
            queue.clear()
            for entry in entries:
                if wanted(entry[1].message):
                    queue.append(entry)
                else:
                    self._out(entry[1])
        return before - len(self)

    def _in(self, parcel: Parcel) -> None:
        self._bytes += parcel.message.size_bytes
        self._budget.hold(parcel)
        if parcel.message.expires_at is not None:
            self._soonest_expiry = min(self._soonest_expiry, parcel.message.expires_at)

    def _out(self, parcel: Parcel) -> None:
        self._bytes -= parcel.message.size_bytes
        self._budget.release(parcel)
