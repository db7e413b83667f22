"""Spans of time as people write them."""

import pytest
import typer
from headwater.cli.durations import duration_s
from hypothesis import given
from hypothesis import strategies as st

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@given(st.integers(1, 999_999), st.sampled_from(sorted(UNITS)))
def test_a_number_and_a_unit_are_seconds(number: int, unit: str) -> None:
    """Blanks around it don't matter."""
    assert duration_s(f" {number}{unit}\n") == number * UNITS[unit]


@pytest.mark.parametrize("text", ["", "1", "h", "1 h", "-1h", "1.5h", "1H", "1w", "0s", "000d", "1h30m", "1000000s"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    """None of them is guessed at."""
    with pytest.raises(typer.BadParameter, match="write 30m, 1h or 90d"):
        duration_s(text)
