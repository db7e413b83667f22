"""The codec says what the specification says, both ways."""

import pytest
from headwater_control.edges.broker import packets as p
from headwater_control.edges.broker import properties as props
from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.fields import VARINT_MAX, Reader, varint
from headwater_control.edges.broker.framing import Decoder
from headwater_control.edges.broker.reasons import BadPacket, Reason
from hypothesis import given
from hypothesis import strategies as st

from tests.control_plane.broker.arbitrary import PACKETS
from tests.control_plane.broker.stream import drain, packets_in

# By hand from the specification's tables; the first two integers are those of its section 1.5.5.
GOLDEN: list[tuple[str, p.Packet]] = [
    # 3.1.2, 3.1.3: a CONNECT with everything a small client sends
    (
        "10 10 0004 4D515454 05 02 003C 03 21 0014 0000",
        p.Connect("", clean_start=True, keep_alive_s=60, properties=props.ConnectProperties(receive_maximum=20)),
    ),
    (
        "10 2D 0004 4D515454 05 EE 000A 05 11 0000000A"
        "0003 6D7171 05 18 00000005 0003 612F62 0002 6869 0003 626F62 0002 7077",
        p.Connect(
            "mqq",
            clean_start=True,
            keep_alive_s=10,
            will=p.Will("a/b", b"hi", 1, True, props.PublishProperties(will_delay_s=5)),
            username="bob",
            password=b"pw",
            properties=props.ConnectProperties(session_expiry_s=10),
        ),
    ),
    ("20 03 00 00 00", p.Connack()),
    (
        "20 08 01 00 05 21 000A 24 01",
        p.Connack(0, True, props.ConnackProperties(receive_maximum=10, maximum_qos=1)),
    ),
    ("20 03 00 87 00", p.Connack(Reason.NOT_AUTHORIZED)),
    # 3.3.2: figure 3-9's topic and identifier
    ("32 08 0003 612F62 000A 00", p.Publish("a/b", b"", 1, 10)),
    ("30 07 0003 612F62 00 7E", p.Publish("a/b", b"~")),
    ("3B 08 0003 612F62 000A 00", p.Publish("a/b", b"", 1, 10, True, True)),
    (
        "30 1A 0001 61 15 02 0000000F 03 0001 74 09 0002 BEEF 26 0001 6B 0001 76 21",
        p.Publish(
            "a",
            b"!",
            properties=props.PublishProperties(
                message_expiry_s=15, content_type="t", correlation_data=b"\xbe\xef", user_properties=(("k", "v"),)
            ),
        ),
    ),
    ("40 02 000A", p.Puback(10)),
    ("40 03 000A 10", p.Puback(10, Reason.NO_MATCHING_SUBSCRIBERS)),
    # 3.8.3: figure 3-20's two filters
    (
        "82 0F 000A 00 0003 612F62 01 0003 632F64 02",
        p.Subscribe(10, (p.Subscription("a/b", 1), p.Subscription("c/d", 2))),
    ),
    (
        "82 09 000A 02 0B 07 0001 61 2D",
        p.Subscribe(10, (p.Subscription("a", 1, True, True, 2),), props.SubscribeProperties(subscription_id=7)),
    ),
    ("90 05 000A 00 01 87", p.Suback(10, (1, 0x87))),
    ("A2 0D 000A 00 0003 612F62 0003 632F64", p.Unsubscribe(10, ("a/b", "c/d"))),
    ("B0 05 000A 00 00 11", p.Unsuback(10, (0, 0x11))),
    ("C0 00", p.Pingreq()),
    ("D0 00", p.Pingresp()),
    ("E0 00", p.Disconnect()),
    ("E0 01 04", p.Disconnect(Reason.DISCONNECT_WITH_WILL)),
    (
        "E0 07 00 05 11 00000078",
        p.Disconnect(0, props.DisconnectProperties(session_expiry_s=120)),
    ),
    ("F0 00", p.Auth()),
    ("F0 06 18 04 15 0001 78", p.Auth(0x18, props.AuthProperties(authentication_method="x"))),
]


@pytest.mark.parametrize(("spelled", "packet"), GOLDEN)
def test_bytes_written_by_hand_are_read_and_written_so(spelled: str, packet: p.Packet) -> None:
    """Each packet type has the bytes that the specification's tables give it."""
    data = bytes.fromhex(spelled)
    assert packets_in(data) == [packet]
    assert encode(packet) == data


@pytest.mark.parametrize(
    ("spelled", "packet"),
    [
        ("40 03 0001 00", p.Puback(1)),
        ("40 04 0001 00 00", p.Puback(1)),
        ("E0 01 00", p.Disconnect()),
        ("E0 02 00 00", p.Disconnect()),
        ("F0 02 00 00", p.Auth()),
    ],
)
def test_what_may_be_left_out_may_be_there(spelled: str, packet: p.Packet) -> None:
    """A reason code of 0 and an empty property section read like their absence."""
    assert packets_in(bytes.fromhex(spelled)) == [packet]


@given(PACKETS)
def test_every_packet_survives_the_wire(packet: p.Packet) -> None:
    """What is written is read back equal."""
    assert packets_in(encode(packet)) == [packet]


@given(st.lists(PACKETS, max_size=5), st.data())
def test_a_stream_may_be_cut_anywhere(packets: list[p.Packet], data: st.DataObject) -> None:
    """However the bytes arrive in pieces, the same packets come out, each as soon as its last byte is there."""
    stream = b"".join(map(encode, packets))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder, found, complete, at = Decoder(1 << 20), [], 0, 0
    ends = [sum(len(encode(one)) for one in packets[: n + 1]) for n in range(len(packets))]
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoder.feed(stream[start:end])
        found += drain(decoder)
        at, complete = end, sum(e <= end for e in ends)
        assert len(found) == complete
    assert found == packets
    assert at == len(stream)


@pytest.mark.parametrize(
    ("value", "spelled"),
    [(0, "00"), (127, "7F"), (128, "80 01"), (16_383, "FF 7F"), (16_384, "80 80 01"), (2_097_151, "FF FF 7F"),
     (2_097_152, "80 80 80 01"), (VARINT_MAX, "FF FF FF 7F")],
)  # fmt: skip
def test_variable_byte_integers_follow_table_1_1(value: int, spelled: str) -> None:
    """The bounds of each length are those of the specification's table 1-1."""
    assert varint(value) == bytes.fromhex(spelled)
    assert Reader(bytes.fromhex(spelled)).varint() == value


@given(st.binary(max_size=80))
def test_nothing_but_bad_packet_comes_out(data: bytes) -> None:
    """Arbitrary bytes either make packets, which can be written again, or raise `BadPacket`."""
    try:
        found = packets_in(data, 4096)
    except BadPacket as bad:
        assert bad.reason >= 0x80
    else:
        for packet in found:
            assert packets_in(encode(packet)) == [packet]


def test_a_string_keeps_its_byte_order_mark() -> None:
    """U+FEFF is a character like any other and is neither skipped nor stripped [MQTT-1.5.4-3]."""
    assert packets_in(encode(p.Publish("\ufeffa", b"")))[0] == p.Publish("\ufeffa", b"")
