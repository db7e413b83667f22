"""What waits in the MQTT gate: one word a device and kind, whatever is sent and however much of it."""

import asyncio

import aiomqtt
import pytest
from headwater_control.gates.intake import Intake
from hypothesis import given
from hypothesis import strategies as st


def message(qos: int = 1, mid: int = 1) -> aiomqtt.Message:
    """Make a message; what it says is told beside it."""
    return aiomqtt.Message("t", b"", qos, False, mid, None)


def intake(most: int = 100) -> Intake[str, tuple[int, int]]:
    """Make an empty one, whose words rank by their first number."""
    return Intake(most, lambda said: said[:1])


def test_the_newest_takes_the_place_of_what_waits() -> None:
    """The highest counts, and of equals the last: a last will of a former life may come behind a birth."""
    words = intake()
    for said in ((1, 0), (3, 0), (3, 1), (2, 0)):
        words.put("box", said, message())
    (word,) = words.take(10)
    assert (word.said, word.count) == ((3, 1), 4)
    assert len(words) == 0


def test_all_that_a_word_stands_for_is_acknowledged_with_it() -> None:
    """So a broker that gives each device its share has no more of this one meanwhile; of QoS 0 nothing is kept."""
    words = intake()
    for mid, qos in enumerate((1, 0, 1, 0, 0)):
        words.put("box", (1, mid), message(qos, mid))
    (word,) = words.take(10)
    assert [one.mid for one in word.messages] == [0, 2]
    assert word.count == 5


def test_one_that_sends_without_end_waits_behind_the_others() -> None:
    """Each time it is new it goes to the end, so that what a device says of several kinds keeps its order."""
    words = intake()
    words.put("flood", (1, 0), message())
    words.put("honest", (1, 1), message())
    words.put("flood", (2, 2), message())
    words.put("flood", (1, 3), message())
    assert [word.said for word in words.take(1)] == [(1, 1)]
    assert [word.said for word in words.take(1)] == [(2, 2)]


def test_a_full_intake_refuses_who_is_not_in_it() -> None:
    """Devices bound the memory; who is in it can still say something newer."""
    words = intake(2)
    for key in "ab":
        words.put(key, (1, 0), message())
    with pytest.raises(asyncio.QueueFull):
        words.put("c", (1, 0), message())
    words.put("a", (2, 0), message())
    assert [word.said for word in words.take(3)] == [(1, 0), (2, 0)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 1)), max_size=40))
def test_nothing_is_lost_but_what_is_older(said: list[tuple[str, int, int]]) -> None:
    """In whatever order: of each key the highest comes out, once, and every message is counted."""
    words = intake()
    for number, (key, rank, qos) in enumerate(said):
        words.put(key, (rank, number), message(qos, number))
    taken = [word for _ in range(4) for word in words.take(1)]
    highest = {
        key: max((rank, number) for number, (other, rank, _) in enumerate(said) if other == key)
        for key in {key for key, _, _ in said}
    }
    assert sorted(word.said for word in taken) == sorted(highest.values())
    assert sum(word.count for word in taken) == len(said)
    assert sum(len(word.messages) for word in taken) == sum(qos for _, _, qos in said)


async def test_who_waits_for_something_is_told() -> None:
    """And waits again once all is taken."""
    words = intake()
    waiting = asyncio.ensure_future(words.some())
    await asyncio.sleep(0)
    assert not waiting.done()
    words.put("box", (1, 0), message())
    await waiting
    words.take(1)
    again = asyncio.ensure_future(words.some())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()
