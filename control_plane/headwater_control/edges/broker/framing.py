"""The incremental decoder: pieces of a byte stream in, packets out, with at most one unfinished packet held."""

from typing import Final

from headwater_control.edges.broker.decoding import check_header, decode
from headwater_control.edges.broker.packets import Packet
from headwater_control.edges.broker.reasons import BadPacket, Reason

_LENGTH_BYTES: Final = 4


class Decoder:
    """Cuts one connection's stream into packets. After `BadPacket` it is of no further use."""

    def __init__(self, maximum_packet_bytes: int) -> None:
        self._maximum_packet_bytes = maximum_packet_bytes
        self._buffer = bytearray()
        self._at = 0  # where the next packet begins
        self.first: int | None = None  # the header byte of the last packet begun: says what a BadPacket was to be

    def feed(self, data: bytes) -> None:
        """Take in what was read."""
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data

    def next(self) -> Packet | None:
        """Give the next packet, or None if more has to be read; raise `BadPacket` if what was read can't be one.

        A packet larger than the maximum is refused as soon as its header is there, before its body is waited for.
        """
        buffer, at = self._buffer, self._at
        if at >= len(buffer):
            return None
        first = self.first = buffer[at]
        check_header(first)
        size, body = self._remaining_length(at + 1)
        if body - at + size > self._maximum_packet_bytes:
            whole = body - at + size
            raise BadPacket(
                Reason.PACKET_TOO_LARGE, f"a packet of {whole} bytes: the maximum is {self._maximum_packet_bytes}"
            )
        if not body or len(buffer) < body + size:
            return None
        self._at = body + size
        return decode(first, bytes(buffer[body : body + size]))

    def _remaining_length(self, at: int) -> tuple[int, int]:
        """Read the length at `at`: (length, where the body starts), or (0, 0) while it is incomplete."""
        value = 0
        for index in range(_LENGTH_BYTES):
            if at + index >= len(self._buffer):
                return 0, 0
            byte = self._buffer[at + index]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if byte == 0 and index:
                    raise BadPacket(Reason.MALFORMED_PACKET, "the remaining length is longer than it need be")
                return value, at + index + 1
        raise BadPacket(Reason.MALFORMED_PACKET, "the remaining length has more than four bytes")
