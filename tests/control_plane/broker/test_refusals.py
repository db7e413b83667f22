"""Who and what is refused, with which reason."""

import pytest
from headwater_control.edges.broker import packets as p
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.properties import ConnectProperties, PublishProperties
from headwater_control.edges.broker.reasons import BadPacket, Reason
from headwater_control.edges.broker.terms import Credentials

from tests.control_plane.broker.desk import Desk


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (p.Publish("t", b"", 2, 1), Reason.QOS_NOT_SUPPORTED),
        (p.Publish("t", b"", retain=True), Reason.RETAIN_NOT_SUPPORTED),
        (p.Publish("t", b"", properties=PublishProperties(topic_alias=1)), Reason.TOPIC_ALIAS_INVALID),
        (p.Publish("t", b"", properties=PublishProperties(subscription_ids=(1,))), Reason.PROTOCOL_ERROR),
        (p.Connect("a"), Reason.PROTOCOL_ERROR),
        (p.Connack(), Reason.PROTOCOL_ERROR),
        (p.Suback(1, (0,)), Reason.PROTOCOL_ERROR),
        (p.Pingresp(), Reason.PROTOCOL_ERROR),
        (p.Auth(), Reason.PROTOCOL_ERROR),
    ],
)
def test_what_was_not_offered_ends_the_connection(packet: p.Packet, reason: Reason) -> None:
    """DISCONNECT says why; what follows in the same piece is not handled."""
    desk = Desk()
    peer = desk.joined("a")
    peer.send(packet, p.Pingreq())
    assert peer.take() == [p.Disconnect(reason)]
    assert peer.closed
    assert desk.exchange.tally.malformed == 1


def test_malformed_bytes_end_the_connection_with_their_reason() -> None:
    """A client that is connected is told; the log names it."""
    desk = Desk()
    peer = desk.joined("a")
    desk.exchange.violated(peer.link, BadPacket(Reason.PACKET_TOO_LARGE, "too large"), desk.now, connecting=False)
    desk.settle()
    assert peer.ending == Reason.PACKET_TOO_LARGE
    (remark,) = desk.exchange.tally.take_remarks()
    assert remark.client == "a"
    assert "too large" in remark.what


@pytest.mark.parametrize(("connecting", "answer"), [(True, [p.Connack(Reason.UNSUPPORTED_VERSION)]), (False, [])])
def test_strangers_are_answered_only_if_they_tried_to_connect(connecting: bool, answer: list[p.Packet]) -> None:
    """A bad CONNECT gets a CONNACK with the reason; anything else before it gets nothing but the end."""
    desk = Desk()
    peer = desk.open()
    bad = BadPacket(Reason.UNSUPPORTED_VERSION, "version 4")
    desk.exchange.violated(peer.link, bad, desk.now, connecting=connecting)
    desk.settle()
    assert peer.take() == answer
    assert peer.closed


def test_the_first_packet_must_be_connect() -> None:
    """A connection that begins with anything else is closed without a word [MQTT-3.1.0-1]."""
    desk = Desk()
    peer = desk.open()
    peer.send(p.Pingreq())
    assert peer.take() == []
    assert peer.closed


def test_who_does_not_introduce_itself_is_closed() -> None:
    """CONNECT must come within its deadline."""
    desk = Desk(Limits(connect_s=10))
    peer, welcome = desk.open(), desk.joined("b", keep_alive_s=600)
    desk.wait(10)
    assert peer.closed
    assert not welcome.closed


def test_connections_are_bounded_in_number() -> None:
    """One too many is closed at once, and a place that is freed can be taken."""
    desk = Desk(Limits(connections=2))
    first = desk.joined("a")
    desk.joined("b")
    assert desk.open().closed
    first.vanish()
    desk.joined("c")


def test_the_authenticator_decides_who_comes_in() -> None:
    """It sees identity, user, password and address; who is refused is told 0x86 and disturbs nobody."""
    seen: list[Credentials] = []

    def authenticate(who: Credentials) -> bool:
        seen.append(who)
        return who.password == b"right"

    desk = Desk(authenticate=authenticate)
    good = desk.joined("a", username="u", password=b"right")
    bad = desk.connect("a", username="u", password=b"wrong")
    assert bad.take() == [p.Connack(Reason.BAD_USER_OR_PASSWORD)]
    assert bad.closed
    assert not good.closed
    assert seen[0] == Credentials("a", "u", b"right", "127.0.0.1:1")


def test_enhanced_authentication_is_not_offered() -> None:
    """A CONNECT with a method is refused with 0x8C."""
    desk = Desk()
    peer = desk.open()
    peer.send(p.Connect("a", properties=ConnectProperties(authentication_method="SCRAM")))
    assert peer.take() == [p.Connack(Reason.BAD_AUTHENTICATION_METHOD)]


def test_the_authorizer_decides_on_topics() -> None:
    """A refused publish is 0x87 in PUBACK, silently dropped with QoS 0; a refused filter is 0x87 in SUBACK."""

    def authorize(client_id: str, action: str, topic: str) -> bool:
        return topic.startswith(f"{client_id}/{'up' if action == 'publish' else 'dn'}/")

    desk = Desk(authorize=authorize)
    a = desk.joined("a")
    assert a.subscribe("a/dn/#", "b/dn/#", "#", "$share/g/a/dn/#", "$share/g/a/up/#") == (1, 0x87, 0x87, 1, 0x87)
    a.publish("a/up/x")
    a.publish("b/up/x")
    a.publish("b/up/x", qos=0)
    assert a.take() == [p.Puback(2, Reason.NO_MATCHING_SUBSCRIBERS), p.Puback(3, Reason.NOT_AUTHORIZED)]
    assert desk.exchange.tally.refused == 5


def test_topics_of_too_many_levels_are_refused() -> None:
    """Without harm to the connection: 0x90 in PUBACK, 0x8F in SUBACK."""
    desk = Desk(Limits(topic_levels=3))
    peer = desk.joined("a")
    assert peer.subscribe("a/b/c", "a/b/c/d") == (1, Reason.TOPIC_FILTER_INVALID)
    peer.publish("a/b/c/d")
    assert peer.take() == [p.Puback(2, Reason.TOPIC_NAME_INVALID)]


def test_subscriptions_are_bounded_in_number() -> None:
    """One too many is answered 0x97; one that is there may be changed."""
    desk = Desk(Limits(subscriptions=2))
    peer = desk.joined("a")
    assert peer.subscribe("a", "b", "c", "a", qos=0) == (0, 0, Reason.QUOTA_EXCEEDED, 0)


def test_a_client_id_has_a_longest_length() -> None:
    """Beyond it CONNECT is answered 0x85."""
    desk = Desk(Limits(client_id_bytes=4))
    assert desk.connect("ééé").inbox == [p.Connack(Reason.CLIENT_ID_NOT_VALID)]
    desk.joined("éé")
