"""What a watcher is told of a round: the figures that the model's loss has, and no others."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from headwater.cli.watching import line, rounds_table
from headwater.records import Round, Scores
from rich.console import Console

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def round_(scores: Scores) -> Round:
    """Make a committed round."""
    return Round(1, "committed", "m-1", False, NOW, 1, 1, scores, (), merged="m-2", closed_at=NOW)


def drawn(scores: Scores, width: int) -> str:
    """Lay a round out on a terminal."""
    console = Console(width=width)
    with console.capture() as captured:
        console.print(rounds_table([round_(scores)], width))
    return captured.get()


CLASSIFIER = Scores(1, 10, 0.5, 4, 0.6, holdout_accuracy=0.75)
REGRESSION = Scores(1, 10, 0.5, 4, 0.6, holdout_mean_absolute_error=1.25)
NEITHER = Scores(1, 10, 0.5, 4, 0.6)


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (CLASSIFIER, "train loss 0.5000, accuracy of m-1 0.7500, made m-2"),
        (REGRESSION, "train loss 0.5000, mean absolute error of m-1 1.2500, made m-2"),
        (NEITHER, "train loss 0.5000, made m-2"),
    ],
    ids=["classifier", "regression", "neither"],
)
def test_a_line_tells_the_figure_that_the_loss_has(scores: Scores, told: str) -> None:
    """Accuracy or mean absolute error of the base version; of a loss without either, nothing."""
    assert line(round_(scores)) == f"round 1: committed, 1 of 0 reported, {told}"


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_has_a_column_for_the_figure_that_the_loss_has(width: int) -> None:
    """The other one's is left out, as both are where neither is known."""
    assert ("ACCURACY" in drawn(CLASSIFIER, width), "ABSOLUTE" in drawn(CLASSIFIER, width)) == (True, False)
    assert ("ACCURACY" in drawn(REGRESSION, width), "ABSOLUTE" in drawn(REGRESSION, width)) == (False, True)
    assert ("ACCURACY" in drawn(NEITHER, width), "ABSOLUTE" in drawn(NEITHER, width)) == (False, False)
    assert ("LATE" in drawn(NEITHER, width), "LATE" in drawn(replace(NEITHER, late=3), width)) == (False, True)
    assert "0.7500" in drawn(CLASSIFIER, width) and "1.2500" in drawn(REGRESSION, width)
