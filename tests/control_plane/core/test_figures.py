"""What a round's reports add up to."""

from dataclasses import replace

import pytest
from headwater_control.core.figures import RoundMetrics, figures
from headwater_control.core.runs import TaskState
from headwater_wire.messages import Metrics

from tests.support.rows import round_, task


def added(*reports: Metrics) -> RoundMetrics:
    """Add up a round whose tasks succeeded with these reports."""
    tasks = [
        replace(task(f"t{number}"), state=TaskState.SUCCEEDED, metrics=report) for number, report in enumerate(reports)
    ]
    return figures(round_(), tasks)


def scored(examples: int, correct: float | None = None, error: float | None = None) -> Metrics:
    """Make a device's report on its held-out examples."""
    return Metrics(holdout_examples=examples, holdout_correct=correct, holdout_absolute_error=error)


def test_each_held_out_example_weighs_the_same() -> None:
    """A device with many examples counts for many: the sums are added, then divided."""
    assert added(scored(10, correct=5), scored(90, correct=81)).holdout_accuracy == pytest.approx(0.86)
    found = added(scored(10, error=20), scored(90, error=90))
    assert found.holdout_mean_absolute_error == pytest.approx(1.1)


def test_a_figure_that_nobody_told_is_none() -> None:
    """An error of 0 is a figure; a loss without one, and a device without held-out examples, tell none."""
    assert added(scored(10, error=0.0)).holdout_mean_absolute_error == 0
    assert added(scored(10, error=0.0)).holdout_accuracy is None
    for reports in ((), (scored(10),), (scored(0, correct=0, error=0.0),)):
        found = added(*reports)
        assert (found.holdout_accuracy, found.holdout_mean_absolute_error) == (None, None)


def test_who_does_not_tell_a_figure_does_not_weigh_in_it() -> None:
    """An older agent among newer ones reports no absolute error: its examples don't dilute the others'."""
    assert added(scored(10, error=5), scored(90)).holdout_mean_absolute_error == pytest.approx(0.5)
