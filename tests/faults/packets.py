"""MQTT's framing, as far as it takes to repeat and to reorder PUBLISH packets (MQTT v5, sections 2.1 and 3.3)."""

from collections.abc import Iterator
from random import Random

from tests.faults.faults import Faults

_PUBLISH = 3
_DUP = 0x08
_QOS = 0x06


class Packets:
    """One direction of one connection. `duplicated` and `reordered` count what was done."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._pending = b""
        self._held = b""
        self.duplicated = 0
        self.reordered = 0

    @property
    def holding(self) -> bool:
        """Say whether a packet waits for another to overtake it."""
        return bool(self._held)

    def feed(self, data: bytes, faults: Faults) -> bytes:
        """Take bytes in, and give those that pass now: whole packets, some twice, some after their successor."""
        self._pending += data
        return b"".join(self._passed(packet, faults) for packet in self._whole())

    def release(self) -> bytes:
        """Give what was held for a successor that did not come."""
        held, self._held = self._held, b""
        return held

    def _passed(self, packet: bytes, faults: Faults) -> bytes:
        if packet[0] >> 4 != _PUBLISH:
            return packet
        if self._random.random() < faults.duplicate:
            self.duplicated += 1
            packet += _again(packet)
        if self._held:
            self.reordered += 1
            return packet + self.release()
        if self._random.random() < faults.reorder:
            self._held = packet
            return b""
        return packet

    def _whole(self) -> Iterator[bytes]:
        while (length := _length(self._pending)) and len(self._pending) >= length:
            packet, self._pending = self._pending[:length], self._pending[length:]
            yield packet


def _again(packet: bytes) -> bytes:
    """Spell a repetition: with QoS above 0 it says that it is one."""
    return bytes([packet[0] | _DUP if packet[0] & _QOS else packet[0]]) + packet[1:]


def _length(data: bytes) -> int:
    """Give the length of the first packet, its header included; 0 while that can't be told."""
    length = 0
    for place, byte in enumerate(data[1:5]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return length + place + 2
    return 0
