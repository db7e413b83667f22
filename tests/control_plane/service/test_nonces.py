"""Nonces: ours, fresh, and whole, or nothing."""

from datetime import timedelta

from headwater_control.service.nonces import Nonces
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import START

MINUTE = timedelta(minutes=1)
NONCES = Nonces()


def test_a_nonce_is_good_for_a_minute() -> None:
    """As often as one likes, and no longer; each is another one."""
    nonce = NONCES.new(START)
    assert NONCES.good(nonce, START)
    assert NONCES.good(nonce, START + MINUTE - timedelta(milliseconds=1))
    assert not NONCES.good(nonce, START + MINUTE)
    assert nonce != NONCES.new(START)


def test_another_process_knows_it_not() -> None:
    """Each draws its own key."""
    assert not Nonces().good(NONCES.new(START), START)


@given(st.integers(0, 56 * 8 - 1), st.integers(0, 55))
def test_one_flipped_bit_or_a_cut_makes_it_nothing(place: int, length: int) -> None:
    """Anywhere: its time can't be prolonged."""
    nonce = NONCES.new(START)
    assert len(nonce) == 56
    bent = bytearray(nonce)
    bent[place // 8] ^= 1 << place % 8
    assert not NONCES.good(bytes(bent), START)
    assert not NONCES.good(nonce[:length], START)
    assert not NONCES.good(nonce + nonce[:length] + b"x", START)


@given(st.binary(max_size=80))
def test_what_we_did_not_make_is_not_good(data: bytes) -> None:
    """Whatever it is."""
    assert not NONCES.good(data, START)
