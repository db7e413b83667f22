"""Presence and registration, in whatever order messages arrive."""

from dataclasses import replace
from datetime import timedelta

from headwater_control.core.fleet import (
    Device,
    DeviceState,
    Patience,
    is_online,
    lost_at,
    registered,
    state_of,
    with_presence,
)
from headwater_control.core.identity import Member, Standing
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Hello, Inventory
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import START

BOX = Device(DeviceId("box"), START)
PATIENCE = Patience(grace_s=30, silence_s=180, since=START)

Word = tuple[bool, int, int]

WORDS = st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=8)


@given(WORDS)
def test_the_last_word_wins_in_any_order(words: list[Word]) -> None:
    """However births and wills are shuffled and repeated, the device is what its highest (epoch, seq) said."""
    said = {(epoch, seq): online for online, epoch, seq in words}  # one place in one life is one word
    box = BOX
    for _, epoch, seq in words:
        box = with_presence(box, said[epoch, seq], epoch, seq, START)
    assert (box.epoch, box.seq) == max(said)
    assert box.online == said[max(said)]


def test_presence_is_dated_when_it_changes() -> None:
    """A repeated word does not move the date, so that a grace is not prolonged for ever."""
    gone = with_presence(replace(BOX, online=True), False, 1, 1, START)
    again = with_presence(gone, False, 1, 1, START + timedelta(seconds=20))
    assert again.presence_at == START


def test_a_last_will_is_no_sign_of_life() -> None:
    """The broker sent it, not the device."""
    assert with_presence(BOX, False, 1, 1, START).last_seen is None


@given(st.integers(0, 400), st.booleans())
def test_patience_ends_exactly_at_its_date(seconds: int, online: bool) -> None:
    """Online until `silence_s` after the last sign of life; offline ones are given up after the grace."""
    box = replace(BOX, online=online, presence_at=START, last_seen=START)
    now = START + timedelta(seconds=seconds)
    assert is_online(box, now, PATIENCE) == (online and seconds < 180)
    assert (now >= lost_at(box, PATIENCE)) == (seconds >= (180 if online else 30))


def test_a_hello_of_a_new_life_starts_its_sequence() -> None:
    """The next presence of that life then counts, whatever its seq."""
    old = replace(BOX, epoch=1, seq=9)
    new = registered(old, old.id, Hello(2, Inventory()), "hash", START)
    assert (new.epoch, new.seq, new.online, new.hello_hash) == (2, 0, True, "hash")
    assert not with_presence(new, False, 2, 0, START).online
    assert registered(new, new.id, Hello(1, Inventory()), "older", START) is new


def test_that_a_device_is_shut_out_is_told_before_whether_it_is_there() -> None:
    """Disabled, then expired, to the second; then online or offline, or that it never came."""
    standing, second = Standing(BOX.id, START), timedelta(seconds=1)
    good, over = Member(standing, START + second), Member(standing, START)
    disabled = Member(replace(standing, disabled_at=START), START)
    here = replace(BOX, online=True)
    assert [state_of(here, member, START) for member in (None, Member(standing), good, over, disabled)] == [
        DeviceState.ONLINE, DeviceState.ONLINE, DeviceState.ONLINE, DeviceState.EXPIRED, DeviceState.DISABLED,
    ]  # fmt: skip
    assert state_of(BOX, good, START) is DeviceState.OFFLINE
    assert [state_of(None, member, START) for member in (good, over, disabled)] == [
        DeviceState.ENROLLED, DeviceState.EXPIRED, DeviceState.DISABLED,
    ]  # fmt: skip
