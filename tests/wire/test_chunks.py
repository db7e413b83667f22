"""A blob over a stream: any cut, any break, any damage."""

import pytest
from headwater_wire import digests
from headwater_wire.chunks import Receiver
from headwater_wire.errors import DigestMismatch, LengthMismatch
from headwater_wire.messages import Blob
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cutting import cut

DATA = st.binary(max_size=200)


@given(data=DATA, size=st.integers(1, 50), breaks=st.lists(st.integers(0, 200), max_size=5))
def test_however_often_it_breaks_the_blob_arrives(data: bytes, size: int, breaks: list[int]) -> None:
    """A new receiver, fed what is there, asks for the rest: nothing is taken twice, nothing is left out."""
    announced = digests.of_bytes(data)
    there = bytearray()
    for stop in [*breaks, len(data)]:
        receiver = Receiver(announced)
        receiver.feed(there)
        assert receiver.offset == len(there)
        for chunk in cut(data[receiver.offset : max(stop, receiver.offset)], size):
            receiver.feed(chunk)
            there += chunk
    assert receiver.finish() == announced
    assert there == data


@given(data=DATA.filter(bool), place=st.integers(0), bit=st.integers(0, 7), size=st.integers(1, 50))
def test_a_flipped_bit_is_found(data: bytes, place: int, bit: int, size: int) -> None:
    """In what was there before or in what came now: the whole's digest decides."""
    damaged = bytearray(data)
    damaged[place % len(data)] ^= 1 << bit
    receiver = Receiver(digests.of_bytes(data))
    for chunk in cut(damaged, size):
        receiver.feed(chunk)
    with pytest.raises(DigestMismatch, match="send them again") as caught:
        receiver.finish()
    assert caught.value.got == digests.of_bytes(damaged).digest


@given(data=DATA, more=st.binary(min_size=1, max_size=20))
def test_more_than_announced_is_not_taken(data: bytes, more: bytes) -> None:
    """The chunk that is too long leaves the receiver as it was."""
    receiver = Receiver(digests.of_bytes(data))
    with pytest.raises(LengthMismatch):
        receiver.feed(data + more)
    assert receiver.offset == 0
    receiver.feed(data)
    with pytest.raises(LengthMismatch):
        receiver.feed(more)
    receiver.finish()


@given(data=DATA.filter(bool), keep=st.integers(0))
def test_less_than_announced_is_not_finished(data: bytes, keep: int) -> None:
    """The error tells how far it came."""
    receiver = Receiver(digests.of_bytes(data))
    receiver.feed(data[: keep % len(data)])
    with pytest.raises(LengthMismatch) as caught:
        receiver.finish()
    assert (caught.value.wanted, caught.value.got) == (len(data), keep % len(data))


def test_the_length_is_judged_before_the_digest() -> None:
    """An announcement may lie about both."""
    receiver = Receiver(Blob(digests.of_bytes(b"ab").digest, 3))
    receiver.feed(b"ab")
    with pytest.raises(LengthMismatch):
        receiver.finish()
