"""What a watcher is told of a round: the figures that the model's loss has, and no others."""

from dataclasses import replace

import pytest
from headwater.cli.watching import Picture, line, rounds_table
from headwater.records import RunDetail, Scores
from rich.console import Console

from tests.support.made_up import round_of, run_of


def drawn(scores: Scores, width: int) -> str:
    """Lay a round out on a terminal."""
    console = Console(width=width)
    with console.capture() as captured:
        console.print(rounds_table([round_of(1, scores)], width))
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
    assert line(round_of(1, scores)) == f"round 1: committed, 1 of 0 reported, {told}"


def test_each_round_that_ended_is_told_once_whatever_is_shown_again() -> None:
    """Who watches for longer than one answer lasts is shown a page of rounds anew; only the last are kept."""
    picture = Picture()
    rounds = [round_of(number, NEITHER) for number in range(1, 41)]
    told = []
    for shown in (rounds[:1], rounds[:30], rounds[27:31], rounds, rounds[38:]):
        told += list(picture.take(RunDetail(run_of(shown[-1].number), tuple(shown))))
    assert [text.partition(":")[0] for text in told] == [f"round {number}" for number in range(1, 41)]
    console = Console(width=120)
    with console.capture() as captured:
        console.print(picture)
    assert "40" in captured.get() and len(captured.get().splitlines()) < 20


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_has_a_column_for_the_figure_that_the_loss_has(width: int) -> None:
    """The other one's is left out, as both are where neither is known."""
    assert ("ACCURACY" in drawn(CLASSIFIER, width), "ABSOLUTE" in drawn(CLASSIFIER, width)) == (True, False)
    assert ("ACCURACY" in drawn(REGRESSION, width), "ABSOLUTE" in drawn(REGRESSION, width)) == (False, True)
    assert ("ACCURACY" in drawn(NEITHER, width), "ABSOLUTE" in drawn(NEITHER, width)) == (False, False)
    assert ("LATE" in drawn(NEITHER, width), "LATE" in drawn(replace(NEITHER, late=3), width)) == (False, True)
    assert "0.7500" in drawn(CLASSIFIER, width) and "1.2500" in drawn(REGRESSION, width)
