"""Shared subscriptions: each message reaches one member, and none is lost with a member (section 4.8.2)."""

from headwater_control.edges.broker.limits import Limits
from headwater_control.edges.broker.packets import Unsubscribe
from hypothesis import given
from hypothesis import strategies as st

from tests.control_plane.broker.desk import Desk, Peer

SHARED = "$share/g/t/#"


def member(desk: Desk, name: str, *, qos: int = 1, expiry_s: int = 100, receive_maximum: int | None = None) -> Peer:
    """Let a client join the group."""
    peer = desk.joined(name, expiry_s=expiry_s, receive_maximum=receive_maximum)
    peer.subscribe(SHARED, qos=qos)
    return peer


@given(st.integers(1, 5), st.integers(0, 30), st.integers(0, 1))
def test_members_take_turns(members: int, messages: int, qos: int) -> None:
    """Each message reaches exactly one member, and every member as many as any other."""
    desk = Desk()
    peers = [member(desk, f"m{number}") for number in range(members)]
    other = desk.joined("b")
    for number in range(messages):
        other.publish("t/x", str(number), qos=qos)
    received = [peer.payloads() for peer in peers]
    assert received == [[str(n) for n in range(messages)][at::members] for at in range(members)]


def test_groups_and_plain_subscriptions_are_independent() -> None:
    """Each group gets a copy, and so does each plain subscriber."""
    desk = Desk()
    one, two, three, plain = (desk.joined(name) for name in ("one", "two", "three", "plain"))
    one.subscribe("$share/g/t")
    two.subscribe("$share/g/t")
    three.subscribe("$share/h/t")
    plain.subscribe("t")
    desk.joined("b").publish("t", "x")
    assert sorted(one.payloads() + two.payloads()) == ["x"]
    assert three.payloads() == plain.payloads() == ["x"]


def test_an_absent_member_is_passed_over() -> None:
    """While one member is there, everything goes to it, and the absent one gets none of it later."""
    desk = Desk()
    gone, there = member(desk, "gone"), member(desk, "there")
    gone.vanish()
    other = desk.joined("b")
    for number in range(4):
        other.publish("t/x", str(number))
    assert there.payloads() == ["0", "1", "2", "3"]
    assert desk.joined("gone", clean=False, expiry_s=100).messages() == []


def test_messages_wait_while_nobody_is_there() -> None:
    """They go to whoever comes first, not to whom they might have been meant for; QoS 0 is not kept."""
    desk = Desk()
    one, two = member(desk, "one"), member(desk, "two")
    one.vanish()
    two.vanish()
    other = desk.joined("b")
    other.publish("t/x", "kept")
    other.publish("t/x", "not kept", qos=0)
    assert desk.joined("two", clean=False, expiry_s=100).payloads() == ["kept"]
    assert desk.joined("one", clean=False, expiry_s=100).payloads() == []


def test_qos_0_does_not_wait_for_a_group_that_has_gone() -> None:
    """What waited for a busy member is let go with the last connection, but for QoS 1."""
    desk = Desk()
    one = member(desk, "one")
    one.stall()
    other = desk.joined("b")
    other.publish("t/x", "zero", qos=0)
    other.publish("t/x", "one")
    one.vanish()
    assert desk.joined("one", clean=False, expiry_s=100).payloads() == ["one"]


def test_a_newcomer_gets_what_waits() -> None:
    """A member that joins finds the group's backlog, after its SUBACK."""
    desk = Desk()
    member(desk, "one").vanish()
    desk.joined("b").publish("t/x", "kept")
    assert member(desk, "two").payloads() == ["kept"]


def test_unacknowledged_messages_wait_for_a_member_that_may_come_back() -> None:
    """While its session lasts they are its own, and come again with DUP."""
    desk = Desk()
    one = member(desk, "one", expiry_s=10)
    desk.joined("b").publish("t/x", "x")
    assert one.payloads() == ["x"]
    two = member(desk, "two")
    one.vanish()
    assert two.messages() == []
    (again,) = desk.joined("one", clean=False, expiry_s=10).messages()
    assert again.dup


def test_unacknowledged_messages_of_a_member_gone_for_good_go_to_another() -> None:
    """When its session ends, what it had not acknowledged is handed on, in order, as a first delivery."""
    desk = Desk()
    one = member(desk, "one", expiry_s=10)
    other = desk.joined("b")
    for number in range(3):
        other.publish("t/x", str(number))
    sent = one.messages()
    one.ack(sent[1])
    two = member(desk, "two")
    one.vanish()
    desk.wait(10)
    messages = two.messages()
    assert [(m.payload, m.dup) for m in messages] == [(b"0", False), (b"2", False)]


def test_what_is_handed_on_waits_if_nobody_is_there() -> None:
    """The group keeps it, before what came later."""
    desk = Desk()
    one = member(desk, "one", expiry_s=10)
    member(desk, "two", expiry_s=1000).vanish()
    other = desk.joined("b", keep_alive_s=600)
    other.publish("t/x", "0")
    one.vanish()
    other.publish("t/x", "1")
    desk.wait(10)
    assert desk.joined("two", clean=False).payloads() == ["0", "1"]


def test_a_busy_member_is_passed_over() -> None:
    """A member whose receive maximum is used up, or that does not read, does not hold up the others."""
    desk = Desk()
    slow = member(desk, "slow", receive_maximum=1)
    quick, stalled = member(desk, "quick"), member(desk, "stalled")
    stalled.stall()
    other = desk.joined("b")
    for number in range(6):
        other.publish("t/x", str(number))
    assert slow.payloads() == ["0"]
    assert quick.payloads() == ["1", "2", "3", "4", "5"]


def test_with_all_members_busy_messages_wait_for_the_first_that_is_free() -> None:
    """The backlog is the group's, not a member's."""
    desk = Desk()
    one, two = member(desk, "one", receive_maximum=1), member(desk, "two", receive_maximum=1)
    other = desk.joined("b")
    for number in range(5):
        other.publish("t/x", str(number))
    (first,), (second,) = one.messages(), two.messages()
    two.ack(second)
    (third,) = two.messages()
    assert (first.payload, second.payload, third.payload) == (b"0", b"1", b"2")
    one.vanish()
    two.ack(third)
    (fourth,) = two.messages()
    two.ack(fourth)
    assert [m.payload for m in (fourth, *two.messages())] == [b"3", b"4"]


def test_the_backlog_is_bounded() -> None:
    """A group that nobody serves keeps as much as it may; the rest is counted under its filter."""
    desk = Desk(Limits(shared_queue_messages=2))
    member(desk, "one").vanish()
    other = desk.joined("b")
    for number in range(5):
        other.publish("t/x", str(number))
    assert desk.joined("one", clean=False).payloads() == ["0", "1"]
    assert {remark.client for remark in desk.exchange.tally.take_remarks()} == {SHARED}


def test_leaving_passes_the_turn_on() -> None:
    """A member that unsubscribes gets nothing more; with the last one the group ends."""
    desk = Desk()
    one, two = member(desk, "one"), member(desk, "two")
    other = desk.joined("b")
    one.send(Unsubscribe(1, (SHARED,)))
    one.take()
    other.publish("t/x", "a")
    assert (one.payloads(), two.payloads()) == ([], ["a"])
    two.send(Unsubscribe(1, (SHARED,)))
    other.take()
    other.publish("t/x", "b")
    assert other.take()[0].reason == 0x10  # type: ignore[union-attr]


def test_a_member_of_qos_0_gets_qos_0() -> None:
    """And what it got is not handed on, since nobody waits for its acknowledgement."""
    desk = Desk()
    zero = member(desk, "zero", qos=0, expiry_s=0)
    desk.joined("b").publish("t/x", "x")
    (message,) = zero.messages()
    assert message.qos == 0
    one = member(desk, "one")
    zero.vanish()
    assert one.messages() == []
