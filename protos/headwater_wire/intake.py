"""Keeps an MQTT client from taking in more than it has agreed to: paho announces a maximum, and buffers anything."""

from typing import Any

PACKET_BYTES = 256 * 1024  # of one MQTT packet, whoever sends it: the largest of ours, a registration, is far below

# The packets that a server sends to whoever publishes and subscribes with QoS 0 and 1, by the upper half of byte one.
_EXPECTED = frozenset({2, 3, 4, 9, 11, 13, 14})  # CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT
_PUBLISH_QOS_2, _TYPE_AND_QOS = 0x34, 0xF6


class Unwanted(ConnectionError):
    """The broker sent what no broker may: the connection ends."""


def bound(below: Any, most_bytes: int = PACKET_BYTES) -> None:
    """Have a paho client end its connection at the header of a packet that is too long, or that none may send it.

    It must be one that asks for QoS 1 at most. Messages of QoS 2 are kept by paho until the broker releases them, and
    answers to pings until it reads them, both without a limit.
    """
    receive = below._sock_recv  # it is asked for all that is left of a packet at once

    def within(size: int) -> bytes:
        first = below._in_packet["command"]
        if first and (first >> 4 not in _EXPECTED or first & _TYPE_AND_QOS == _PUBLISH_QOS_2):
            raise Unwanted(f"the broker sent a packet that begins with 0x{first:02X}, as none may")
        if size > most_bytes:
            raise Unwanted(f"the broker sent a packet of {size} bytes, and {most_bytes} are the most")
        received: bytes = receive(size)
        return received

    below._sock_recv = within
