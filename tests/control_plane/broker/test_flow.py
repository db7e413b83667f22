"""How messages reach who subscribed, what is bounded, and what happens to a client that does not keep up."""

import pytest
from headwater_control.edges.broker import packets as p
from headwater_control.edges.broker.encoding import encode
from headwater_control.edges.broker.exchange import Write
from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.properties import PublishProperties
from headwater_control.edges.broker.reasons import Reason
from headwater_control.edges.broker.tally import Drop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.control_plane.broker.desk import Desk


def test_properties_pass_through() -> None:
    """Whatever the publisher says of a message reaches the subscriber, in order."""
    desk = Desk()
    peer = desk.joined("a")
    peer.subscribe("t")
    said = PublishProperties(
        payload_format=1,
        content_type="application/x-protobuf",
        response_topic="answers/1",
        correlation_data=b"\x00\x01",
        user_properties=(("a", "1"), ("b", "2"), ("a", "3"), ("long", "x" * 300)),
    )
    desk.joined("b").send(p.Publish("t", b"\xff\x00", properties=said))
    assert peer.take() == [p.Publish("t", b"\xff\x00", properties=said)]


@given(st.integers(0, 1), st.integers(0, 2))
def test_qos_is_the_lower_of_both(published: int, subscribed: int) -> None:
    """A message is delivered at the lower of the QoS it was published with and of that granted, at most 1."""
    desk = Desk()
    peer = desk.joined("a")
    assert peer.subscribe("t", qos=subscribed) == (min(subscribed, 1),)
    desk.joined("b").publish("t", qos=published)
    assert [m.qos for m in peer.messages()] == [min(published, subscribed)]


def test_a_message_comes_once_however_many_filters_cover_it() -> None:
    """With the highest QoS among them, and all their subscription identifiers."""
    desk = Desk()
    peer = desk.joined("a")
    peer.subscribe("t/+", qos=0, subscription_id=1)
    peer.subscribe("t/#", qos=1, subscription_id=2)
    peer.subscribe("u")
    desk.joined("b").publish("t/x")
    (message,) = peer.messages()
    assert message.qos == 1
    assert sorted(message.properties.subscription_ids) == [1, 2]


def test_no_local_keeps_a_clients_own_messages_from_it() -> None:
    """Others' still come."""
    desk = Desk()
    peer = desk.joined("a")
    peer.subscribe("t", no_local=True)
    peer.publish("t", "mine")
    desk.joined("b").publish("t", "theirs")
    assert peer.payloads() == ["theirs"]


def test_publishing_to_nobody_says_so() -> None:
    """PUBACK with 0x10 lets a publisher know."""
    desk = Desk()
    peer = desk.joined("a")
    peer.publish("nobody/here")
    assert peer.take() == [p.Puback(1, Reason.NO_MATCHING_SUBSCRIBERS)]


def test_our_receive_maximum_is_enforced() -> None:
    """More QoS 1 messages at once than were announced end the connection with 0x93."""
    desk = Desk(Limits(receive_maximum=3))
    peer = desk.joined("a")
    publishes = [p.Publish("t", b"", 1, number) for number in range(1, 5)]
    peer.send(*publishes[:3], p.Publish("t", b""))
    assert len(peer.take()) == 3
    peer.send(*publishes)
    assert peer.ending == Reason.RECEIVE_MAXIMUM_EXCEEDED


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 30))
def test_the_clients_receive_maximum_is_respected(asked: int, ours: int, messages: int) -> None:
    """Never are more on their way than it asked for and than we allow ourselves; the rest waits, in order."""
    desk = Desk(Limits(send_window=ours))
    peer = desk.joined("a", receive_maximum=asked)
    peer.subscribe("t")
    other = desk.joined("b")
    for number in range(messages):
        other.publish("t", str(number))
    seen: list[str] = []
    flying = peer.messages()
    while flying:
        assert len(flying) <= min(asked, ours)
        seen.append(flying[0].payload.decode())
        peer.ack(flying.pop(0))
        flying += peer.messages()
    assert seen == [str(number) for number in range(messages)]


def test_unacknowledged_bytes_are_bounded_too() -> None:
    """Large messages go out a few at a time, but one always may."""
    desk = Desk(Limits(send_window_bytes=2500))
    peer = desk.joined("a")
    peer.subscribe("t")
    other = desk.joined("b")
    for _ in range(3):
        other.publish("t", "x" * 2000)
    first = peer.messages()
    assert len(first) == 2
    peer.ack(*first)
    assert len(peer.messages()) == 1


def test_a_full_queue_drops_what_is_new_and_says_so() -> None:
    """A QoS 1 message for which there is no room is counted, with its reason, and named in the log."""
    desk = Desk(Limits(queue_messages=3))
    desk.joined("a", expiry_s=100).send(p.Subscribe(1, (p.Subscription("t", 1),)), p.Disconnect())
    other = desk.joined("b")
    for number in range(5):
        other.publish("t", str(number))
    assert desk.joined("a", clean=False).payloads() == ["0", "1", "2"]
    assert desk.exchange.tally.drops == {Drop.QUEUE_FULL: 2}
    assert [remark.client for remark in desk.exchange.tally.take_remarks()] == ["a", "a"]


def test_messages_larger_than_the_client_takes_are_skipped() -> None:
    """Its Maximum Packet Size is never exceeded; the message counts as delivered [MQTT-3.1.2-24, -25]."""
    desk = Desk()
    peer = desk.joined("a", maximum_packet_bytes=60)
    peer.subscribe("t")
    other = desk.joined("b")
    exact = p.Publish("t", b"x" * 52, 1, 2)
    assert len(encode(exact)) == 60
    other.publish("t", "x" * 53)
    other.publish("t", "x" * 52)
    (message,) = peer.messages()
    assert message == exact
    assert desk.exchange.tally.drops == {Drop.TOO_LARGE: 1}


def test_expiry_counts_down_while_a_message_waits() -> None:
    """What is left of the interval is told on delivery; a message whose interval is over is dropped and counted."""
    desk = Desk()
    peer = desk.joined("a", expiry_s=1000)
    peer.subscribe("t")
    peer.vanish()
    other = desk.joined("b", keep_alive_s=600)
    for seconds in (10, 30, 0):
        other.publish("t", str(seconds), message_expiry_s=seconds)
    other.publish("t", "for ever")
    desk.wait(10)
    messages = desk.joined("a", clean=False).messages()
    assert [(m.payload, m.properties.message_expiry_s) for m in messages] == [(b"30", 20), (b"for ever", None)]
    assert desk.exchange.tally.drops == {Drop.EXPIRED: 2}


@pytest.mark.parametrize("asked_s", [10, 2**32 - 1])
def test_an_expiry_interval_is_told_as_it_was_asked_for_at_any_time_of_day(asked_s: int) -> None:
    """Seconds that are no round numbers neither lengthen the interval nor carry the longest one beyond four bytes."""
    desk = Desk()
    peer = desk.joined("a")
    peer.subscribe("t")
    other = desk.joined("b")
    told = set()
    for _ in range(200):
        desk.wait(1 / 61)
        other.publish("t", message_expiry_s=asked_s)
        (message,) = peer.messages()
        told.add(message.properties.message_expiry_s)
        peer.ack(message)
    assert told == {asked_s}


def test_what_is_not_acknowledged_counts_towards_the_limit_of_all_queues() -> None:
    """However many clients leave messages unacknowledged, the broker holds no more than `queued_bytes`."""
    desk = Desk(Limits(queued_bytes=5000))
    peers = [desk.joined(name) for name in "abcdef"]
    for peer in peers:
        peer.subscribe("t")
    desk.joined("g").publish("t", "x" * 1000)
    assert desk.exchange.queued_bytes <= 5000
    received = [peer.messages() for peer in peers]
    assert sum(map(len, received)) == 3
    assert desk.exchange.tally.drops == {Drop.BROKER_FULL: 3}
    for peer, messages in zip(peers, received, strict=True):
        peer.ack(*messages)
    desk.joined("h").publish("t")
    assert all(peer.messages() for peer in peers)


def test_a_client_that_does_not_read_gets_no_more_and_then_is_closed() -> None:
    """While it is stalled its messages wait in its bounded queue; at the deadline the connection is cut."""
    desk = Desk(Limits(queue_messages=5, stall_s=10))
    peer = desk.joined("a", expiry_s=100)
    peer.subscribe("t")
    peer.stall()
    other = desk.joined("b", keep_alive_s=600)
    for number in range(9):
        other.publish("t", str(number))
    assert peer.take() == []
    desk.wait(9)
    assert not peer.closed
    desk.wait(1)
    assert peer.closed and peer.aborted
    assert desk.exchange.tally.stalled == 1
    assert desk.joined("a", clean=False).payloads() == ["0", "1", "2", "3", "4"]


def test_a_client_that_reads_again_in_time_gets_everything() -> None:
    """Nothing is lost by a pause shorter than the deadline, and none of its keep alive counts against it."""
    desk = Desk(Limits(stall_s=10))
    peer = desk.joined("a", keep_alive_s=2)
    peer.subscribe("t")
    peer.stall()
    other = desk.joined("b", keep_alive_s=600)
    for number in range(9):
        other.publish("t", str(number), qos=number % 2)
    desk.wait(9)
    peer.resume()
    assert peer.payloads() == [str(number) for number in range(9)]
    desk.wait(2.9)
    assert not peer.closed


@pytest.mark.parametrize("topic_filter", ["t", "$share/g/t"])
def test_a_long_queue_is_written_in_bursts(topic_filter: str) -> None:
    """Between two bursts whoever owns the socket can say that it is enough, and nothing newer comes between."""
    desk = Desk(Limits(burst_bytes=1000))
    first = desk.joined("a", expiry_s=100)
    first.subscribe(topic_filter)
    first.vanish()
    other = desk.joined("b")
    for number in range(50):
        other.publish("t", f"{number:0100}")
    peer = desk.open()
    desk.exchange.received(peer.link, [p.Connect("a", False)], desk.now)
    (command,) = desk.exchange.take(desk.now)
    assert isinstance(command, Write)
    assert 1000 <= len(command.data) <= 1200
    desk.exchange.paused(peer.link, desk.now)
    assert desk.exchange.take(desk.now) == []
    desk.exchange.resumed(peer.link, desk.now)
    (command,) = desk.exchange.take(desk.now)
    assert isinstance(command, Write)
    other.publish("t", "last")
    *numbers, last = peer.payloads()
    assert [int(number) for number in numbers] == list(range(50 - len(numbers), 50))
    assert len(numbers) == 50 - 2 * 10
    assert last == "last"


def test_a_message_without_any_time_is_not_delivered() -> None:
    """An expiry interval of 0 is over before delivery can start."""
    desk = Desk()
    peer = desk.joined("a")
    peer.subscribe("t")
    desk.joined("b").publish("t", "x", message_expiry_s=0)
    assert peer.messages() == []
    assert desk.exchange.tally.drops == {Drop.EXPIRED: 1}


def test_keep_alive_is_any_packet() -> None:
    """Whatever a client sends proves that it lives; the deadline is one and a half times its keep alive."""
    desk = Desk()
    peer = desk.joined("a", keep_alive_s=10)
    for _ in range(5):
        desk.wait(14)
        peer.send(p.Pingreq())
        assert peer.take() == [p.Pingresp()]
    desk.wait(15.1)
    assert peer.closed


def test_shutting_down_tells_everyone() -> None:
    """Each client gets DISCONNECT 0x8B; who has not introduced itself is just closed."""
    desk = Desk()
    peer, stranger = desk.joined("a"), desk.open()
    desk.exchange.shut_down(desk.now)
    desk.settle()
    assert peer.ending == Reason.SERVER_SHUTTING_DOWN
    assert peer.closed and stranger.closed
    assert stranger.take() == []


@settings(max_examples=30)
@given(st.lists(st.sampled_from([p.Pingreq(), p.Publish("t", b"x"), p.Publish("u", b"y", 1, 1)]), max_size=20))
def test_totals_add_up(packets: list[p.Packet]) -> None:
    """Every packet, message and byte is counted."""
    desk = Desk()
    peer = desk.joined("a")
    peer.subscribe("t")
    peer.send(*packets)
    tally = desk.exchange.tally
    assert tally.packets_in == len(packets) + 2
    assert tally.messages_in == sum(isinstance(packet, p.Publish) for packet in packets)
    assert tally.messages_out == len(peer.messages())
    assert tally.bytes_out == peer.bytes
