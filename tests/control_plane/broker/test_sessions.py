"""What outlives a connection, and for how long."""

import pytest
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.packets import Connack, Disconnect, Puback, Publish, Unsuback, Unsubscribe
from headwater_control.edges.broker.properties import DisconnectProperties
from headwater_control.edges.broker.reasons import Reason

from tests.control_plane.broker.desk import Desk, Peer


def present(peer: Peer) -> bool:
    """Say what CONNACK said of a session."""
    welcome = peer.inbox.pop(0)
    assert isinstance(welcome, Connack) and welcome.reason == 0
    return welcome.session_present


def test_connack_announces_what_the_broker_offers() -> None:
    """Every limit that differs from the specification's default is announced."""
    desk = Desk(Limits(receive_maximum=7, packet_bytes=999, session_expiry_s=50, keep_alive_s=30))
    (welcome,) = desk.connect("", expiry_s=60, keep_alive_s=31).take()
    assert isinstance(welcome, Connack)
    offered = welcome.properties
    assert (offered.receive_maximum, offered.maximum_packet_bytes, offered.maximum_qos) == (7, 999, 1)
    assert (offered.retain_available, offered.topic_alias_maximum) == (0, 0)
    assert (offered.session_expiry_s, offered.server_keep_alive_s) == (50, 30)
    assert offered.assigned_client_id == "new-1"


def test_a_session_waits_for_its_client() -> None:
    """QoS 1 messages and subscriptions are there when the client is back; QoS 0 was not kept."""
    desk = Desk()
    first = desk.joined("a", expiry_s=100)
    first.subscribe("t/#")
    first.vanish()
    other = desk.joined("b")
    other.publish("t/1", "one")
    other.publish("t/2", "zero", qos=0)
    other.publish("t/3", "two")
    desk.wait(99)
    again = desk.connect("a", clean=False, expiry_s=100)
    assert present(again)
    messages = again.messages()
    assert [m.payload for m in messages] == [b"one", b"two"]
    assert not any(m.dup for m in messages)
    again.ack(*messages)
    other.publish("t/4", "three")
    assert again.payloads() == ["three"]


@pytest.mark.parametrize(("waited_s", "kept"), [(9.9, True), (10.0, False)])
def test_a_session_expires(waited_s: float, kept: bool) -> None:
    """A session ends its expiry interval after its connection."""
    desk = Desk()
    desk.joined("a", expiry_s=10).vanish()
    desk.wait(waited_s)
    assert present(desk.connect("a", clean=False)) is kept


def test_a_session_without_an_expiry_interval_ends_with_its_connection() -> None:
    """That is the default of version 5."""
    desk = Desk()
    desk.joined("a").vanish()
    assert desk.exchange.sessions == 0
    assert not present(desk.connect("a", clean=False))


def test_clean_start_ends_the_old_session() -> None:
    """Nothing of it is left, neither messages nor subscriptions."""
    desk = Desk()
    first = desk.joined("a", expiry_s=100)
    first.subscribe("t")
    first.vanish()
    other = desk.joined("b")
    other.publish("t", "one")
    again = desk.connect("a", clean=True, expiry_s=100)
    assert not present(again)
    other.publish("t", "two")
    assert again.take() == []


def test_unacknowledged_messages_come_again_as_duplicates() -> None:
    """After a reconnect they come first, in order, with DUP and the identifiers they had [MQTT-4.4.0-1]."""
    desk = Desk()
    first = desk.joined("a", expiry_s=100)
    first.subscribe("t")
    other = desk.joined("b")
    for number in range(4):
        other.publish("t", str(number))
    sent = first.messages()
    first.ack(sent[1])
    first.vanish()
    other.publish("t", "4")
    again = desk.joined("a", clean=False, expiry_s=100).messages()
    assert [(m.payload, m.dup) for m in again] == [(b"0", True), (b"2", True), (b"3", True), (b"4", False)]
    assert [m.packet_id for m in again[:3]] == [sent[0].packet_id, sent[2].packet_id, sent[3].packet_id]
    assert desk.exchange.tally.redelivered == 3


def test_redelivery_keeps_to_a_smaller_receive_maximum() -> None:
    """A client that comes back wanting fewer at a time gets them few at a time, and new ones after the old."""
    desk = Desk()
    first = desk.joined("a", expiry_s=100)
    first.subscribe("t")
    other = desk.joined("b")
    for number in range(4):
        other.publish("t", str(number))
    first.vanish()
    again = desk.joined("a", clean=False, expiry_s=100, receive_maximum=2)
    other.publish("t", "4")
    other.publish("t", "z", qos=0)
    seen = []
    while messages := again.messages():
        assert len([m for m in messages if m.qos]) <= 2
        seen += [m.payload.decode() for m in messages]
        again.ack(*(m for m in messages if m.qos))
    assert [one for one in seen if one != "z"] == ["0", "1", "2", "3", "4"]
    assert "z" in seen


def test_an_expired_message_is_not_sent_again() -> None:
    """What was on its way when the connection broke is dropped if it has expired since, as mosquitto does."""
    desk = Desk()
    first = desk.joined("a", expiry_s=100)
    first.subscribe("t")
    other = desk.joined("b")
    other.publish("t", "short", message_expiry_s=5)
    other.publish("t", "long", message_expiry_s=50)
    first.vanish()
    desk.wait(6)
    (message,) = desk.joined("a", clean=False, expiry_s=100).messages()
    assert (message.payload, message.dup, message.properties.message_expiry_s) == (b"long", True, 44)


def test_a_newcomer_takes_over() -> None:
    """The old connection is told so (0x8E) and closed; the session goes on with the new one."""
    desk = Desk()
    old = desk.joined("a", expiry_s=100)
    old.subscribe("t")
    new = desk.connect("a", clean=False, expiry_s=100)
    assert old.ending == Reason.SESSION_TAKEN_OVER
    assert old.closed
    assert [remark.client for remark in desk.exchange.tally.take_remarks()] == ["a"]
    assert present(new)
    desk.joined("b").publish("t", "x")
    assert new.payloads() == ["x"]
    old.publish("t", "from the grave")
    assert new.take() == []


def test_taking_over_a_session_that_was_not_to_outlive_its_connection_finds_none() -> None:
    """With expiry interval 0 the old session ended when its connection was closed (section 3.1.4)."""
    desk = Desk()
    desk.joined("a")
    assert not present(desk.connect("a", clean=False, expiry_s=100))


def test_the_late_end_of_an_old_connection_does_not_harm_the_new_one() -> None:
    """The network's word about a connection that was taken over changes nothing."""
    desk = Desk()
    old = desk.joined("a", expiry_s=100)
    new = desk.joined("a", clean=False, expiry_s=100)
    old.vanish()
    desk.wait(200)
    new.subscribe("t")
    assert desk.exchange.sessions == 1


def test_disconnect_may_shorten_the_expiry() -> None:
    """DISCONNECT with expiry interval 0 ends the session at once."""
    desk = Desk()
    peer = desk.joined("a", expiry_s=100)
    peer.send(Disconnect(0, DisconnectProperties(session_expiry_s=0)))
    assert peer.closed
    assert desk.exchange.sessions == 0


def test_disconnect_may_not_ask_for_a_session_that_connect_did_not() -> None:
    """From 0 to something else is a protocol error (section 3.14.2.2.2)."""
    desk = Desk()
    peer = desk.joined("a")
    peer.send(Disconnect(0, DisconnectProperties(session_expiry_s=5)))
    assert peer.ending == Reason.PROTOCOL_ERROR


def test_an_unknown_acknowledgement_is_ignored() -> None:
    """PUBACK for what isn't in flight changes nothing."""
    desk = Desk()
    peer = desk.joined("a")
    peer.send(Puback(77))
    assert peer.take() == []
    assert not peer.closed


def test_unsubscribing_ends_the_flow() -> None:
    """No message published after UNSUBACK comes; what was not subscribed to is answered 0x11."""
    desk = Desk()
    peer = desk.joined("a")
    peer.subscribe("t", "u")
    peer.send(Unsubscribe(9, ("t", "nope")))
    assert peer.take() == [Unsuback(9, (0, Reason.NO_SUBSCRIPTION_EXISTED))]
    other = desk.joined("b")
    other.publish("t", "gone")
    other.publish("u", "still")
    assert peer.payloads() == ["still"]


def test_sessions_are_bounded_in_number() -> None:
    """A client beyond the limit is told 0x97; one that has a session is not counted twice."""
    desk = Desk(Limits(sessions=2))
    desk.joined("a", expiry_s=100).vanish()
    desk.joined("b")
    assert desk.connect("c").inbox == [Connack(Reason.QUOTA_EXCEEDED)]
    assert present(desk.connect("a", clean=False))


def test_packet_identifiers_go_round_without_meeting_one_in_flight() -> None:
    """After 65,535 comes 1, and an identifier that is still unacknowledged is passed over."""
    desk = Desk()
    peer = desk.joined("a")
    peer.subscribe("t")
    other = desk.joined("b")
    other.publish("t", "kept")
    (kept,) = peer.messages()
    ids: list[int] = []
    while len(ids) < 65_535:
        other.send(*(Publish("t", b"", 1, 1) for _ in range(255)))
        messages = peer.messages()
        peer.ack(*messages)
        ids += [message.packet_id for message in messages]
    assert kept.packet_id == 1
    assert ids == [*range(2, 65_536), *range(2, 65_536)][: len(ids)]
