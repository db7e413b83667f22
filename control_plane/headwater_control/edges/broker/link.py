"""One network connection as the protocol sees it: what is to be written, and whether the peer keeps up."""

from typing import NewType

from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.packets import Packet
from headwater_control.edges.broker.tally import Tally

LinkId = NewType("LinkId", int)


class Link:
    """The outgoing half of a connection. Whoever owns the socket takes `pending` from the links in `dirty`."""

    def __init__(
        self,
        number: LinkId,
        peer: str,
        certificate: bytes,
        burst_bytes: int,
        dirty: "dict[LinkId, Link]",
        tally: Tally,
    ) -> None:
        self.id = number
        self.peer = peer
        self.certificate = certificate  # the peer's, DER, verified; empty without TLS
        self.client_id: str | None = None  # once CONNECT was accepted
        self.keep_alive_s = 0
        self.maximum_packet_bytes: int | None = None
        self.paused = False
        self.closing = False
        self.resting = False  # its owner is to be told not to read it for a moment
        self._burst_bytes = burst_bytes
        self._dirty = dirty
        self._tally = tally
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    @property
    def full(self) -> bool:
        """Say whether messages may have been held back for what is pending."""
        return self._pending_bytes >= self._burst_bytes

    @property
    def open(self) -> bool:
        """Say whether a message may be written now: answers always may, since reading stops with writing."""
        return not self.paused and not self.closing and self._pending_bytes < self._burst_bytes

    def send(self, packet: Packet) -> None:
        """Write a packet that is not a message."""
        self.write(encode(packet))

    def write(self, data: bytes) -> None:
        """Write."""
        if self.closing:
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        self._dirty[self.id] = self

    def rest(self) -> None:
        """Ask for not being read for a moment, once what was read in this turn is handled."""
        self.resting = True
        self._dirty[self.id] = self

    def close(self) -> None:
        """Close, once what is pending is written."""
        self.closing = True
        self._dirty[self.id] = self

    def take(self) -> bytes:
        """Hand over what is pending."""
        data = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._tally.bytes_out += len(data)
        return data
