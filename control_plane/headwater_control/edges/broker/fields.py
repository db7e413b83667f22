"""The data types of MQTT v5 (section 1.5): how a field is read from a packet's body, and written."""

from typing import Final

from headwater_control.edges.broker.reasons import BadPacket, Reason

VARINT_MAX: Final = 268_435_455


class Reader:
    """A cursor over the body of one packet; reading past its end raises `BadPacket`."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    def __bool__(self) -> bool:
        return self.at < self.end

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        at = self.at
        if size > self.end - at:
            raise BadPacket(Reason.MALFORMED_PACKET, "a field ends beyond its packet")
        self.at = at + size
        return self.data[at : at + size]

    def rest(self) -> bytes:
        """Read whatever is left."""
        return self.take(self.end - self.at)

    def byte(self) -> int:
        """Read one byte."""
        return self.take(1)[0]

    def word(self) -> int:
        """Read a two-byte integer."""
        return int.from_bytes(self.take(2), "big")

    def long(self) -> int:
        """Read a four-byte integer."""
        return int.from_bytes(self.take(4), "big")

    def varint(self) -> int:
        """Read a variable byte integer, which must be as short as it can be [MQTT-1.5.5-1]."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise BadPacket(Reason.MALFORMED_PACKET, "a variable byte integer is longer than it need be")
                return value
        raise BadPacket(Reason.MALFORMED_PACKET, "a variable byte integer has more than four bytes")

    def binary(self) -> bytes:
        """Read bytes behind their length."""
        return self.take(self.word())

    def text(self) -> str:
        """Read a UTF-8 string, in which there is no surrogate and no NUL [MQTT-1.5.4-1, -2]."""
        raw = self.binary()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadPacket(Reason.MALFORMED_PACKET, f"a string is not UTF-8: {error.reason}") from error
        if "\0" in text:
            raise BadPacket(Reason.MALFORMED_PACKET, "a string contains NUL")
        return text

    def packet_id(self) -> int:
        """Read a packet identifier, which is never zero [MQTT-2.2.1-3]."""
        number = self.word()
        if not number:
            raise BadPacket(Reason.PROTOCOL_ERROR, "packet identifier 0")
        return number

    def part(self, size: int) -> "Reader":
        """Open a cursor of its own over the next `size` bytes, and skip them here."""
        if size > self.end - self.at:
            raise BadPacket(Reason.MALFORMED_PACKET, "a section ends beyond its packet")
        part = Reader(self.data, self.at, self.at + size)
        self.at += size
        return part

    def finish(self) -> None:
        """Insist that nothing is left."""
        if self:
            raise BadPacket(Reason.MALFORMED_PACKET, f"{self.end - self.at} bytes too many in the packet")


def word(value: int) -> bytes:
    """Write a two-byte integer."""
    return value.to_bytes(2, "big")


def long(value: int) -> bytes:
    """Write a four-byte integer."""
    return value.to_bytes(4, "big")


def varint(value: int) -> bytes:
    """Write a variable byte integer."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value:
        value, low = value >> 7, value & 0x7F
        out.append(low | 0x80 if value else low)
    return bytes(out)


def binary(value: bytes) -> bytes:
    """Write bytes behind their length."""
    return len(value).to_bytes(2, "big") + value


def text(value: str) -> bytes:
    """Write a UTF-8 string."""
    return binary(value.encode("utf-8"))
