"""What connections owe the end of, and which of them end for it."""

from collections.abc import Mapping

from headwater_control.gates.connections import Flow
from headwater_control.gates.halves import Account, Bounds, carried, excess
from hypothesis import given
from hypothesis import strategies as st

BOUNDS = Bounds(strangers_bytes=100, strangers_s=60.0, known_bytes=50)
SIZES = st.lists(st.integers(0, 80), max_size=8)


def strangers(*owed: int, since_s: float = 0.0) -> dict[tuple[str, int], Account]:
    """Make accounts of connections over which no call has come, by port."""
    return {("192.0.2.1", port): Account(since_s, Flow(size, None), size) for port, size in enumerate(owed, 1)}


def ports(accounts: Mapping[tuple[str, int], Account], now_s: float = 1.0) -> set[int]:
    """Say whose end it is."""
    return {port for _, port in excess(accounts, now_s, BOUNDS)}


def test_what_came_whole_is_not_owed() -> None:
    """Framing comes with it; of a stranger all is owed, and its first whole call settles it."""
    begun = carried(None, Flow(1_000, None), 7.0)
    assert (begun.since_s, begun.owed) == (7.0, 1_000)
    half = carried(begun, Flow(101_000, 0), 8.0)
    assert half.owed == 101_000
    assert carried(half, Flow(101_200, 101_000), 9.0) == Account(7.0, Flow(101_200, 101_000), 0)


def test_nobody_saves_up_for_later_halves() -> None:
    """What came whole settles no more than was owed by then."""
    settled = carried(None, Flow(1_000, 1_000), 0.0)
    assert carried(settled, Flow(1_500, 1_000), 1.0).owed == 500


def test_an_upload_that_goes_on_while_it_is_looked_at_owes_nothing_for_it() -> None:
    """What was taken between the kernel's word and ours counts for the next look; else a fast one would add it up."""
    account = carried(None, Flow(1_000, 0), 0.0)
    for look in range(1, 50):
        received = 1_000 + 1_000_000 * look
        account = carried(account, Flow(received, received + 300_000, meanwhile=300_000), float(look))
        assert account.owed <= 1_000
    assert carried(account, Flow(60_000_000, account.flow.taken), 50.0).owed > 9_000_000


def test_another_connection_from_the_same_address_begins_anew() -> None:
    """Less has come over it than over the former one; nor does it count what that one had whole."""
    former = carried(None, Flow(10_000, 9_000), 0.0)
    assert carried(former, Flow(700, 9_000), 5.0).since_s == 5.0
    assert carried(carried(None, Flow(10_000, 0), 0.0), Flow(700, 0), 5.0).owed == 700


@given(SIZES)
def test_strangers_keep_the_bound_together(sizes: list[int]) -> None:
    """Those that stay owe no more, whoever they are; and nobody ends who owes less than one that stays."""
    accounts = strangers(*sizes)
    ends = ports(accounts)
    stay = [size for port, size in enumerate(sizes, 1) if port not in ends]
    gone = [size for port, size in enumerate(sizes, 1) if port in ends]
    assert sum(stay) <= BOUNDS.strangers_bytes
    assert min(gone, default=80) >= max(stay, default=0)
    assert not gone or sum(stay) + min(gone) > BOUNDS.strangers_bytes


def test_boxes_that_come_at_once_outlast_who_fills_memory() -> None:
    """Behind one address as everywhere: those end first that owe most."""
    assert ports(strangers(*[1] * 60, 90, 80, 70)) == {61, 62, 63}


def test_a_stranger_that_never_calls_ends() -> None:
    """After a time that no handshake and no turn takes, though it owes next to nothing."""
    assert ports(strangers(1), now_s=60.0) == set()
    assert ports(strangers(1), now_s=60.1) == {1}


def test_a_devices_connection_has_a_bound_of_its_own() -> None:
    """It may last, and is not counted among the strangers."""
    address = ("192.0.2.9", 9)
    accounts = {**strangers(90), address: Account(0.0, Flow(10**9, 10**9), 50)}
    assert ports(accounts, now_s=60.0) == set()
    assert ports({address: Account(0.0, Flow(10**9, 10**9), 51)}) == {9}
