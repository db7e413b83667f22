"""Reading a whole byte stream at once, for tests."""

from headwater_control.edges.broker.framing import Decoder
from headwater_control.edges.broker.packets import Packet


def packets_in(data: bytes, maximum_packet_bytes: int = 268_435_460) -> list[Packet]:
    """Decode everything in `data`."""
    decoder = Decoder(maximum_packet_bytes)
    decoder.feed(data)
    return drain(decoder)


def drain(decoder: Decoder) -> list[Packet]:
    """Take what a decoder has."""
    found: list[Packet] = []
    while (packet := decoder.next()) is not None:
        found.append(packet)
    return found
