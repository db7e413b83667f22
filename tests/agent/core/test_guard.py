"""What the daemon tells of a training, and how it counts: without the data, and without asking who trains."""

from math import ceil

from headwater_agent.core.guard import Guard, examples_objection
from headwater_agent.core.policy import Floor
from headwater_agent.core.shares import SCORING_BATCH, shares, steps_of
from headwater_agent.training.datasets.split import split
from headwater_wire.messages import Metrics, Plan
from hypothesis import example, given
from hypothesis import strategies as st

COUNTS, SHARES = st.integers(0, 5000), st.floats(0, 1, exclude_max=True)


@example(1, 0.0)
@example(1000, 5e-324)
@example(5000, 1 - 2**-53)
@given(COUNTS, SHARES)
def test_shares_are_those_by_which_the_examples_are_divided(count: int, holdout: float) -> None:
    """To the last example, though none is looked at."""
    assert shares(count, holdout) == tuple(len(rows) for rows in split(count, holdout))


@given(st.integers(10**9, 10**12), SHARES)
def test_large_datasets_are_counted_at_once(count: int, holdout: float) -> None:
    """By the three-gap theorem their shares are near what was asked for."""
    trained, held = shares(count, holdout)
    assert trained + held == count and abs(held - holdout * count) < 100


@given(st.integers(1, 300), SHARES, st.booleans(), st.integers(0, 300), st.booleans())
def test_no_delta_or_figure_comes_from_fewer(count: int, share: float, train: bool, least: int, report: bool) -> None:
    """What passes trains on enough, and reports figures of enough or of none."""
    plan, floor = Plan(train=train, holdout=share), Floor(min_examples=least, report_metrics=report)
    rows, held_out = (len(part) for part in split(count, share))
    enough = count >= least and (not train or rows >= least) and (not report or not held_out or held_out >= least)
    assert (examples_objection("parts", count, plan, floor) == "") == enough


@given(COUNTS, SHARES, st.booleans(), st.builds(Metrics, st.integers(), holdout_examples=st.integers()))
def test_no_figure_is_of_more_examples_than_there_are(count: int, share: float, report: bool, said: Metrics) -> None:
    """Nor of fewer than none."""
    told = Guard(Floor(report_metrics=report), Plan(holdout=share), count).told(said, 1.0)
    rows, held_out = shares(count, share)
    assert 0 <= told.examples <= rows and 0 <= told.holdout_examples <= held_out


@given(st.integers(), st.integers(), st.floats())
def test_without_metrics_two_workers_sound_alike(step: int, examples: int, loss: float) -> None:
    """Whatever they say: examples and steps are as the box counts them, and nothing else is told."""
    guard = Guard(Floor(report_metrics=False), Plan(batch_size=8, epochs=2, holdout=0.25), 100)
    said = Metrics(examples, loss, examples, loss, loss, loss, loss)
    assert guard.told(said, 2.0) == Metrics(examples=74, seconds=2.0)
    most = 1 + ceil(26 / SCORING_BATCH) + 2 * ceil(74 / 8)
    assert most == 1 + steps_of(100, guard.plan)
    at, of, shown = guard.step(step, examples, loss)
    assert 0 <= at <= most and (of, shown) == (most, 0.0)
    assert "SECRET" not in guard.words("SECRET")
