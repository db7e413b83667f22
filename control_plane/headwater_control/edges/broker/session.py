"""A client's session: what it subscribed to, what waits for it, and what it has not acknowledged yet."""

from collections import deque
from collections.abc import Iterator

from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.link import Link
from headwater_control.edges.broker.mailbox import Budget, Mailbox
from headwater_control.edges.broker.message import Parcel
from headwater_control.edges.broker.packets import Will
from headwater_control.edges.broker.tally import Drop, Tally

_PACKET_IDS = 65_535


class Session:
    """Outlives its connections, up to its expiry interval. `link` is the present one."""

    def __init__(self, client_id: str, limits: Limits, budget: Budget, tally: Tally) -> None:
        self.client_id = client_id
        self.link: Link | None = None
        self.expiry_s = 0
        self.will: Will | None = None
        self.filters: set[str] = set()  # as they were asked for: the router knows the rest
        self.mailbox = Mailbox(client_id, limits.queue_messages, limits.queue_bytes, budget, tally)
        self._limits = limits
        self._budget = budget
        self._tally = tally
        self._window = 0
        self._flying: dict[int, Parcel] = {}  # by packet id, in the order first sent
        self._flying_bytes = 0
        self._again: deque[int] = deque()  # those of them to be sent again on this connection
        self._again_open: set[int] = set()
        self._last_id = 0

    def attach(self, link: Link, receive_maximum: int) -> None:
        """Go on over a new connection: what was not acknowledged on the old one is sent again first [MQTT-4.4.0-1]."""
        self.link = link
        self._window = min(receive_maximum, self._limits.send_window)
        self._again = deque(self._flying)
        self._again_open = set(self._flying)

    def detach(self) -> None:
        """Lose the connection: QoS 0 does not wait for an absent client."""
        self.link = None
        self.mailbox.forget_qos0()

    @property
    def window_open(self) -> bool:
        """Say whether the client would take another QoS 1 message."""
        sent = len(self._flying) - len(self._again_open)
        return sent < self._window and (not sent or self._flying_bytes < self._limits.send_window_bytes)

    @property
    def idle(self) -> bool:
        """Say whether a message put in now would be sent at once: then a shared subscription may choose this member."""
        return self.link is not None and self.link.open and self.window_open and not self._again and not self.mailbox

    def deliver(self, parcel: Parcel, now: float) -> None:
        """Send a message now, or when it can be; QoS 0 to an absent client is not kept."""
        held = parcel.message.size_bytes if parcel.qos else 0  # until it is acknowledged
        if self.idle and self._budget.has_room(held):
            self._send(parcel, now)
        elif (self.link is not None or parcel.qos) and self.mailbox.put(parcel, now):
            self.pump(now)

    def pump(self, now: float) -> None:
        """Send what can be sent."""
        link = self.link
        while link is not None and link.open and (self._send_again(link, now) or self._send_next(now)):
            pass

    def acknowledge(self, packet_id: int) -> bool:
        """Forget a message that has arrived; say False if there is none of that id."""
        parcel = self._flying.pop(packet_id, None)
        if parcel is None:
            return False
        self._again_open.discard(packet_id)
        self._flying_bytes -= parcel.message.size_bytes
        self._budget.release(parcel)
        return True

    def end(self) -> Iterator[Parcel]:
        """Let everything go; give what others of a shared subscription should have instead, oldest first."""
        orphans = [parcel for parcel in self._flying.values() if parcel.group is not None]
        for packet_id in tuple(self._flying):
            self.acknowledge(packet_id)
        self.mailbox.clear()
        self.link = None
        return iter(orphans)

    def _send_again(self, link: Link, now: float) -> bool:
        if not self._again or not self.window_open:
            return False
        packet_id = self._again.popleft()
        parcel = self._flying.get(packet_id)
        if parcel is None or packet_id not in self._again_open:
            return True  # acknowledged meanwhile, late
        if parcel.message.expired(now):
            self.acknowledge(packet_id)
            self.mailbox.lose(Drop.EXPIRED)
            return True
        self._again_open.discard(packet_id)
        self._tally.redelivered += 1
        self._write(link, parcel, packet_id, now, dup=True)
        return True

    def _send_next(self, now: float) -> bool:
        parcel = self.mailbox.pop(now, qos1=self.window_open)
        if parcel is None:
            return False
        self._send(parcel, now)
        return True

    def _send(self, parcel: Parcel, now: float) -> None:
        if parcel.message.expired(now):
            self.mailbox.lose(Drop.EXPIRED)
            return
        packet_id = 0
        if parcel.qos:
            packet_id = self._free_id()
            self._flying[packet_id] = parcel
            self._flying_bytes += parcel.message.size_bytes
            self._budget.hold(parcel)
        assert self.link is not None
        self._write(self.link, parcel, packet_id, now)

    def _write(self, link: Link, parcel: Parcel, packet_id: int, now: float, *, dup: bool = False) -> None:
        data = parcel.encode(packet_id, now, dup=dup)
        if link.maximum_packet_bytes is not None and len(data) > link.maximum_packet_bytes:
            self.acknowledge(packet_id)  # as if it had been delivered [MQTT-3.1.2-25]
            self.mailbox.lose(Drop.TOO_LARGE)
            return
        self._tally.messages_out += 1
        link.write(data)

    def _free_id(self) -> int:
        """Find an id that is not in flight; there always is one, since the window is far smaller than their number."""
        while True:
            self._last_id = self._last_id % _PACKET_IDS + 1
            if self._last_id not in self._flying:
                return self._last_id
