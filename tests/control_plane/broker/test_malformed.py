"""Each way in which a packet can be wrong is told by its own reason code."""

import pytest
from headwater_control.edges.broker.fields import varint
from headwater_control.edges.broker.framing import Decoder
from headwater_control.edges.broker.reasons import BadPacket, Reason
from headwater_wire.errors import Malformed

from tests.control_plane.broker.stream import drain, packets_in

M, P = Reason.MALFORMED_PACKET, Reason.PROTOCOL_ERROR
_CONNECT = "0004 4D515454 05"

WRONG: list[tuple[str, str, Reason]] = [
    ("packet type 0", "00 00", M),
    ("PUBREC", "50 02 0001", P),
    ("PUBREL", "62 02 0001", P),
    ("PUBCOMP", "70 02 0001", P),
    ("flags on CONNECT", "11 00", M),
    ("flags on PUBACK", "42 02 0001", M),
    ("no flags on SUBSCRIBE", "80 00", M),
    ("no flags on UNSUBSCRIBE", "A0 00", M),
    ("flags on PINGREQ", "C8 00", M),
    ("a PINGREQ with a body", "C0 01 00", M),
    ("a PINGRESP with a body", "D0 01 00", M),
    ("a remaining length of five bytes", "C0 80 80 80 80 01", M),
    ("a remaining length longer than need be", "C0 80 00", M),
    # CONNECT
    ("an empty CONNECT", "10 00", M),
    ("MQTT 3.1.1", "10 0C 0004 4D515454 04 02 003C 0000", Reason.UNSUPPORTED_VERSION),
    ("MQIsdp", "10 0E 0006 4D5149736470 05 02 003C 00 00", Reason.UNSUPPORTED_VERSION),
    ("the reserved connect flag", f"10 0D {_CONNECT} 03 003C 00 0000", M),
    ("a will QoS without a will", f"10 0D {_CONNECT} 0A 003C 00 0000", M),
    ("a retained will without a will", f"10 0D {_CONNECT} 22 003C 00 0000", M),
    ("will QoS 3", f"10 13 {_CONNECT} 1E 003C 00 0000 00 0001 61 0000", M),
    ("a will without a topic", f"10 12 {_CONNECT} 06 003C 00 0000 00 0000 0000", Reason.TOPIC_NAME_INVALID),
    ("a will to a wildcard", f"10 13 {_CONNECT} 06 003C 00 0000 00 0001 23 0000", Reason.TOPIC_NAME_INVALID),
    ("a will with a topic alias", f"10 16 {_CONNECT} 06 003C 00 0000 03 23 0001 0001 61 0000", M),
    ("a user name that isn't there", f"10 0D {_CONNECT} 82 003C 00 0000", M),
    ("bytes behind the last field", f"10 0E {_CONNECT} 02 003C 00 0000 00", M),
    ("Receive Maximum 0", f"10 10 {_CONNECT} 02 003C 03 21 0000 0000", P),
    ("Maximum Packet Size 0", f"10 12 {_CONNECT} 02 003C 05 27 00000000 0000", P),
    ("a flag of 2", f"10 0F {_CONNECT} 02 003C 02 17 02 0000", P),
    ("authentication data without a method", f"10 11 {_CONNECT} 02 003C 04 16 0001 00 0000", P),
    ("Session Expiry twice", f"10 17 {_CONNECT} 02 003C 0A 11 00000001 11 00000001 0000", P),
    ("an unknown property", f"10 0F {_CONNECT} 02 003C 02 7F 00 0000", M),
    ("a property of another packet", f"10 0F {_CONNECT} 02 003C 02 01 00 0000", M),
    ("properties longer than the packet", f"10 0D {_CONNECT} 02 003C 09 0000", M),
    ("a property cut short", f"10 0F {_CONNECT} 02 003C 02 21 00 0000", M),
    # PUBLISH
    ("QoS 3", "36 06 0001 61 0001 00", M),
    ("DUP with QoS 0", "38 04 0001 61 00", M),
    ("packet identifier 0", "32 06 0001 61 0000 00", P),
    ("a topic with +", "30 04 0001 2B 00", Reason.TOPIC_NAME_INVALID),
    ("a topic with #", "30 06 0003 612F23 00", Reason.TOPIC_NAME_INVALID),
    ("neither topic nor alias", "30 03 0000 00", P),
    ("topic alias 0", "30 07 0001 61 03 23 0000", Reason.TOPIC_ALIAS_INVALID),
    ("subscription identifier 0", "30 06 0001 61 02 0B 00", P),
    ("a response topic with a wildcard", "30 08 0001 61 04 08 0001 23", Reason.TOPIC_NAME_INVALID),
    ("payload format 2", "30 06 0001 61 02 01 02", P),
    ("a topic that is not UTF-8", "30 04 0001 FF 00", M),
    ("an overlong UTF-8 sequence", "30 05 0002 C080 00", M),
    ("a surrogate", "30 06 0003 EDA080 00", M),
    ("NUL in a topic", "30 04 0001 00 00", M),
    ("a topic longer than the packet", "30 03 0009 61", M),
    ("no properties", "30 03 0001 61", M),
    ("a property length longer than need be", "30 05 0001 61 80 00", M),
    ("a property length of five bytes", "30 08 0001 61 80 80 80 80 01", M),
    ("a will delay outside a will", "30 09 0001 61 05 18 00000001", M),
    # acknowledgements
    ("PUBACK without an identifier", "40 01 00", M),
    ("PUBACK with identifier 0", "40 02 0000", P),
    ("PUBACK with SUBACK's reason", "40 03 0001 01", M),
    ("PUBACK with a byte too many", "40 05 0001 00 00 00", M),
    ("SUBACK without a reason", "90 03 0001 00", P),
    ("SUBACK with an unknown reason", "90 04 0001 00 03", M),
    ("UNSUBACK with an unknown reason", "B0 04 0001 00 01", M),
    ("CONNACK with reserved flags", "20 03 02 00 00", M),
    ("CONNACK with an unknown reason", "20 03 00 01 00", M),
    ("a refusing CONNACK with a session", "20 03 01 87 00", P),
    # SUBSCRIBE, UNSUBSCRIBE
    ("SUBSCRIBE to nothing", "82 03 0001 00", P),
    ("SUBSCRIBE with identifier 0", "82 07 0000 00 0001 61 00", P),
    ("SUBSCRIBE with QoS 3", "82 07 0001 00 0001 61 03", M),
    ("SUBSCRIBE with reserved options", "82 07 0001 00 0001 61 40", M),
    ("SUBSCRIBE with retain handling 3", "82 07 0001 00 0001 61 30", M),
    ("SUBSCRIBE without options", "82 06 0001 00 0001 61", M),
    ("two subscription identifiers", "82 0B 0001 04 0B01 0B02 0001 61 00", P),
    ("an empty filter", "82 06 0001 00 0000 00", Reason.TOPIC_FILTER_INVALID),
    ("# before the end", "82 09 0001 00 0003 232F61 00", Reason.TOPIC_FILTER_INVALID),
    ("# within a level", "82 08 0001 00 0002 6123 00", Reason.TOPIC_FILTER_INVALID),
    ("+ within a level", "82 08 0001 00 0002 612B 00", Reason.TOPIC_FILTER_INVALID),
    ("+ within an early level", "82 0A 0001 00 0004 612B2F61 00", Reason.TOPIC_FILTER_INVALID),
    ("$share without a filter", "82 0E 0001 00 0008 2473686172652F67 00", Reason.TOPIC_FILTER_INVALID),
    ("$share with an empty filter", "82 0F 0001 00 0009 2473686172652F672F 00", Reason.TOPIC_FILTER_INVALID),
    ("$share without a name", "82 0F 0001 00 0009 2473686172652F2F61 00", Reason.TOPIC_FILTER_INVALID),
    ("$share with a wildcard name", "82 10 0001 00 000A 2473686172652F2B2F61 00", Reason.TOPIC_FILTER_INVALID),
    ("a no-local shared subscription", "82 10 0001 00 000A 2473686172652F672F61 04", P),
    ("UNSUBSCRIBE from nothing", "A2 03 0001 00", P),
    ("UNSUBSCRIBE with an identifier of a subscription", "A2 08 0001 02 0B01 0001 61", M),
    ("UNSUBSCRIBE from a bad filter", "A2 07 0001 00 0002 6123", Reason.TOPIC_FILTER_INVALID),
    # DISCONNECT, AUTH
    ("DISCONNECT with an unknown reason", "E0 01 01", M),
    ("DISCONNECT with a byte too many", "E0 03 00 00 00", M),
    ("AUTH with an unknown reason", "F0 01 01", M),
]


@pytest.mark.parametrize(("spelled", "reason"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_packet_is_refused_with_its_reason(spelled: str, reason: Reason) -> None:
    """A packet that breaks one rule raises `BadPacket` with the reason code the specification gives that rule."""
    with pytest.raises(BadPacket) as caught:
        packets_in(bytes.fromhex(spelled))
    assert caught.value.reason is reason, str(caught.value)


def test_bad_packets_are_malformed_input_to_everyone_else() -> None:
    """Whoever knows only the wire's own errors can catch them."""
    assert issubclass(BadPacket, Malformed)


@pytest.mark.parametrize("size", [101, 268_435_455])
def test_an_oversized_packet_is_refused_from_its_header(size: int) -> None:
    """Not one byte of the body need arrive."""
    decoder = Decoder(maximum_packet_bytes=100)
    decoder.feed(b"\x30" + varint(size))
    with pytest.raises(BadPacket) as caught:
        decoder.next()
    assert caught.value.reason is Reason.PACKET_TOO_LARGE


def test_a_packet_of_just_the_maximum_is_taken() -> None:
    """The maximum counts the header too (section 3.1.2.11.4), and is itself allowed."""
    whole = b"\x30\x62\x00\x01a\x00" + b"x" * 94
    assert len(whole) == 100
    assert len(packets_in(whole, 100)) == 1
    with pytest.raises(BadPacket):
        packets_in(whole, 99)


def test_packets_before_the_wrong_one_are_given_first() -> None:
    """A violation does not undo what was sent before it."""
    decoder = Decoder(100)
    decoder.feed(bytes.fromhex("C000 C000 00"))
    assert decoder.next() is not None
    assert decoder.next() is not None
    with pytest.raises(BadPacket):
        drain(decoder)
