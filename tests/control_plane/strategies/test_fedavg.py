"""Weights of federated averaging."""

from fractions import Fraction

import pytest
from headwater_control import strategies
from headwater_control.strategies import fedavg
from headwater_wire.errors import Malformed
from hypothesis import given
from hypothesis import strategies as st

COUNTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=50)


@given(COUNTS.filter(any))
def test_each_weight_is_its_share_of_the_examples(counts: list[int]) -> None:
    """n_k / n, rounded once to float64, in the order given."""
    weights = fedavg.weights(counts)
    assert weights == tuple(float(Fraction(count, sum(counts))) for count in counts)
    assert abs(sum(weights) - 1) < 1e-12


def test_equal_shares_weigh_equally() -> None:
    """Four devices with as many examples."""
    assert strategies.weights("fedavg", [7, 7, 7, 7]) == (0.25,) * 4


@pytest.mark.parametrize(
    ("counts", "sentence"), [([], "0 deltas"), ([0, 0], "2 deltas of no examples"), ([1, -1], "delta 2 of 2 claims -1")]
)
def test_nothing_to_average_is_said(counts: list[int], sentence: str) -> None:
    """No division by zero, no weight below zero."""
    with pytest.raises(Malformed, match=sentence):
        fedavg.weights(counts)


def test_an_unknown_strategy_is_malformed() -> None:
    """The message names the known ones."""
    with pytest.raises(Malformed, match="'median'; known are fedavg"):
        strategies.weights("median", [1])
