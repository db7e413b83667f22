"""The broker's codec: nothing but `BadPacket` comes out, and what it accepts is written and read back equal."""

import random

from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.framing import Decoder
from headwater_control.edges.broker.reasons import BadPacket, Reason

from tests.fuzzing.packets import Packets, invent, mutate

_MAXIMUM_PACKET_BYTES = 4096


class Codec:
    """An input begins with the place (two bytes) where the rest of it is cut in two."""

    def make(self, source: random.Random) -> bytes:
        """Mostly damage valid packets."""
        packets = Packets(source)
        draw = source.random()
        if draw < 0.15:
            data = invent(source)
        elif draw < 0.25:
            data = encode(packets.make())
        elif draw < 0.35:
            data = encode(packets.make()) + mutate(encode(packets.make()), source)
        else:
            data = mutate(encode(packets.make()), source)
        return source.randint(0, len(data)).to_bytes(2, "big") + data

    def check(self, data: bytes) -> str:
        """Decode in two pieces."""
        decoder = Decoder(_MAXIMUM_PACKET_BYTES)
        accepted = 0
        try:
            for piece in pieces(data):
                decoder.feed(piece)
                while (packet := decoder.next()) is not None:
                    accepted += 1
                    written = encode(packet)
                    again = Decoder(1 << 20)
                    again.feed(written)
                    if again.next() != packet or encode(packet) != written:
                        raise AssertionError(f"{packet!r} is written as {written.hex()} and read back otherwise")
        except BadPacket as bad:
            if not bad.what or bad.reason < Reason.UNSPECIFIED:
                raise AssertionError("it is refused without a reason") from bad
            return bad.reason.name.lower()
        return "accepted" if accepted else "unfinished"


def pieces(data: bytes) -> tuple[bytes, bytes]:
    """Cut an input in two, where it says."""
    cut = 2 + int.from_bytes(data[:2], "big")
    return data[2:cut], data[cut:]
