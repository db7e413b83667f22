"""Queues and deadlines keep their bounds whatever happens."""

from headwater_control.edges.broker.alarms import Alarms
from headwater_control.edges.broker.mailbox import Budget, Mailbox
from headwater_control.edges.broker.message import Message, Parcel
from headwater_control.edges.broker.properties import PublishProperties
from headwater_control.edges.broker.tally import Drop, Tally
from hypothesis import given
from hypothesis import strategies as st


def parcel(number: int, qos: int, *, expiry_s: int | None = None, payload: bytes = b"", now: float = 0.0) -> Parcel:
    """Make a parcel that can be told by its topic."""
    properties = PublishProperties(message_expiry_s=expiry_s)
    return Parcel(Message.of(str(number), payload, qos, properties, sender="s", now=now), qos)


def topics(mailbox: Mailbox, now: float = 0.0) -> list[str]:
    """Empty a mailbox."""
    found = []
    while (one := mailbox.pop(now)) is not None:
        found.append(one.message.topic)
    return found


def mailbox(messages: int = 100, size_bytes: int = 1 << 20, budget: Budget | None = None) -> tuple[Mailbox, Tally]:
    """Make an empty one."""
    tally = Tally()
    return Mailbox("c", messages, size_bytes, budget or Budget(1 << 20), tally), tally


@given(st.lists(st.integers(0, 1), max_size=60), st.integers(1, 20))
def test_qos_0_is_given_up_before_any_qos_1(levels: list[int], room: int) -> None:
    """A full queue first drops its oldest QoS 0, then what is new; what stays keeps its order; each loss is counted."""
    box, tally = mailbox(room)
    expected: list[tuple[int, int]] = []
    for number, qos in enumerate(levels):
        box.put(parcel(number, qos), 0.0)
        if len(expected) == room:
            oldest = next((one for one in expected if one[1] == 0), None)
            if oldest is None:
                continue
            expected.remove(oldest)
        expected.append((number, qos))
    assert topics(box) == [str(number) for number, _ in expected]
    assert tally.drops[Drop.QUEUE_FULL] == len(levels) - len(expected)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3000), st.booleans()), max_size=60))
def test_bytes_are_bounded_and_balance(steps: list[tuple[int, int, bool]]) -> None:
    """Neither its own bound nor the common budget is ever exceeded, and an empty mailbox uses none of it."""
    budget = Budget(9000)
    box, _ = mailbox(size_bytes=5000, budget=budget)
    other, _ = mailbox(size_bytes=5000, budget=budget)
    for number, (qos, size, here) in enumerate(steps):
        (box if here else other).put(parcel(number, qos, payload=b"x" * size), 0.0)
        assert box.size_bytes <= 5000
        assert box.size_bytes + other.size_bytes == budget.used_bytes <= 9000
    topics(box)
    other.clear()
    assert budget.used_bytes == 0


def test_the_common_budget_is_named_as_the_reason() -> None:
    """A message that does not fit because of others' is counted apart."""
    box, tally = mailbox(budget=Budget(10))
    assert not box.put(parcel(1, 1), 0.0)
    assert tally.drops == {Drop.BROKER_FULL: 1}


def test_expired_messages_make_room() -> None:
    """A queue full of what nobody wants any more takes what is new."""
    box, tally = mailbox(2)
    box.put(parcel(1, 1, expiry_s=10), 0.0)
    box.put(parcel(2, 1, expiry_s=30), 0.0)
    assert not box.put(parcel(3, 1), 9.0)
    assert box.put(parcel(4, 1), 10.0)
    assert topics(box, 12.0) == ["2", "4"]
    assert tally.drops == {Drop.QUEUE_FULL: 1, Drop.EXPIRED: 1}


def test_qos_0_passes_while_qos_1_must_wait() -> None:
    """With the client's window closed only QoS 0 is handed out, and the rest keeps its order."""
    box, _ = mailbox()
    for number, qos in enumerate([1, 0, 1, 0]):
        box.put(parcel(number, qos), 0.0)
    first = box.pop(0.0, qos1=False)
    assert first is not None and first.message.topic == "1"
    assert topics(box) == ["0", "2", "3"]


def test_what_is_put_back_comes_first_again() -> None:
    """A parcel that returns takes its place before everything of its QoS."""
    box, _ = mailbox()
    for number in range(3):
        box.put(parcel(number, 1), 0.0)
    one, two = box.pop(0.0), box.pop(0.0)
    assert one is not None and two is not None
    box.put_back(two)
    box.put_back(one)
    assert topics(box) == ["0", "1", "2"]


def test_remarks_thin_out_as_losses_go_on() -> None:
    """Of a thousand losses ten are remarked: the log names the client and the reason, and stays readable."""
    box, tally = mailbox(1)
    for number in range(1001):
        box.put(parcel(number, 1), 0.0)
    remarks = tally.take_remarks()
    assert len(remarks) == 10
    assert remarks[0].client == "c"
    assert remarks[0].what == "1 messages dropped so far, the last because the subscriber's queue is full"
    assert tally.take_remarks() == []


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["set", "cancel", "due"]), st.integers(0, 50)), max_size=200
    )
)
def test_alarms_fire_when_they_are_due_and_only_then(steps: list[tuple[str, str, int]]) -> None:
    """Against a plain dictionary: the same keys fire, earliest first, and `next_at` is never too late."""
    alarms: Alarms[str] = Alarms()
    model: dict[str, float] = {}
    now = 0.0
    for key, what, number in steps:
        if what == "set":
            alarms.set(key, now + number)
            model[key] = now + number
        elif what == "cancel":
            alarms.cancel(key)
            model.pop(key, None)
        else:
            now += number
            fired = [key for key, at in model.items() if at <= now]
            got = alarms.due(now)
            assert sorted(got) == sorted(fired)
            assert [model[key] for key in got] == sorted(model[key] for key in got)
            for one in fired:
                del model[one]
        upcoming = alarms.next_at()
        assert not model or (upcoming is not None and upcoming <= min(model.values()))


def test_alarms_that_are_cancelled_leave_nothing_behind() -> None:
    """A million short connections must not leave a million entries until their deadlines pass."""
    alarms: Alarms[int] = Alarms()
    for key in range(10_000):
        alarms.set(key, 1e9)
        alarms.cancel(key)
    assert len(alarms._heap) < 200
