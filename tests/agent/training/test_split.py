"""The held-out share: the same examples in every round of every run."""

import numpy as np
from headwater_agent.training.datasets.split import shuffled, split
from hypothesis import given
from hypothesis import strategies as st

COUNTS = st.integers(0, 3000)
SHARES = st.floats(0.0, 0.99)


@given(COUNTS, SHARES)
def test_every_example_is_on_exactly_one_side(count: int, holdout: float) -> None:
    """None is lost, none is both trained on and scored."""
    rows, held = split(count, holdout)
    assert sorted([*rows, *held]) == list(range(count))


@given(COUNTS, st.integers(0, 500), SHARES)
def test_appended_examples_move_no_old_one(count: int, more: int, holdout: float) -> None:
    """When the box collects more data, what was held out stays held out."""
    _, before = split(count, holdout)
    _, after = split(count + more, holdout)
    assert after[: len(before)].tolist() == before.tolist()
    assert all(row >= count for row in after[len(before) :])


@given(COUNTS, SHARES, SHARES)
def test_a_larger_share_contains_a_smaller_one(count: int, one: float, other: float) -> None:
    """Raising the share never trains on what was scored before."""
    _, few = split(count, min(one, other))
    _, many = split(count, max(one, other))
    assert set(few) <= set(many)


@given(st.integers(0, 2000), st.integers(20, 500), st.sampled_from([0.1, 0.2, 0.3, 0.5]))
def test_every_stretch_gives_its_share(start: int, length: int, holdout: float) -> None:
    """A file sorted by class still has its share of each class held out, within three examples."""
    _, held = split(start + length, holdout)
    assert abs(np.count_nonzero(held >= start) - length * holdout) <= 3


def test_all_or_none_can_be_held_out() -> None:
    """A share of 0 holds nothing out, a share of 1 everything."""
    assert [len(part) for part in split(10, 0.0)] == [10, 0]
    assert [len(part) for part in split(10, 1.0)] == [0, 10]


@given(st.integers(0, 200), st.integers(0, 2**32), st.integers(0, 50))
def test_an_epochs_order_follows_from_seed_and_number(count: int, seed: int, epoch: int) -> None:
    """Each epoch is a permutation, the same for the same seed, and another for another epoch."""
    rows = np.arange(count)
    order = shuffled(rows, seed, epoch)
    assert sorted(order) == rows.tolist()
    assert order.tolist() == shuffled(rows, seed, epoch).tolist()
    if count > 50:
        assert order.tolist() != shuffled(rows, seed, epoch + 1).tolist()
