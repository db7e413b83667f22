"""A dataset is trained on again once enough of it is new, where the box's owner wants that."""

from dataclasses import replace

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core import novelty
from headwater_agent.core.machine import step
from headwater_agent.core.session import DatasetFact, Held, ServerTime, Session, Stage
from headwater_agent.edges import records
from headwater_wire.messages import DatasetCard, Plan, Rejected

from tests.fakes.agent_bundle import DATASET, task
from tests.fakes.agent_world import BOX, METRICS, delta_of

T1, T2 = task("t1"), task("t2")
EAGER = replace(BOX, datasets=(DatasetFact(DATASET, "f1", examples=100),), min_new_examples=10)
TRAINING = Session(EAGER, time=ServerTime(1_000_000), held=(Held(T1, 1, Stage.TRAINING, attempts=1),))
DONE, FOLLOWED = step(TRAINING, on.Trained(T1.id, 1, delta_of(T1.id), METRICS), at_s=0.0)


def grown(examples: int | None) -> Session:
    """Let the dataset be looked over again, by an agent that was restarted."""
    session, _ = records.load(records.dump(DONE), EAGER)
    session = replace(session, time=ServerTime(1_000_000))
    return step(session, on.Surveyed((DatasetFact(DATASET, "f2", examples=examples),)), at_s=0.0)[0]


@pytest.mark.parametrize(("examples", "wanted"), [(100, False), (109, False), (110, True), (60, True), (None, True)])
def test_a_task_without_enough_that_is_new_is_rejected(examples: int | None, wanted: bool) -> None:
    """The count outlives the agent. Fewer than before are other data; what nobody has counted is tried."""
    session = grown(examples)
    after, commands = step(session, on.Assigned(1, T2), at_s=0.0)
    assert (do.Fetch(T2) in commands) is wanted
    if not wanted:
        outcome = after.reports[0].outcome
        assert isinstance(outcome, Rejected) and "new examples since its last training, and 10 are" in outcome.reason


def test_scoring_needs_nothing_new() -> None:
    """It trains on nothing."""
    scoring = task("t3", plan=Plan(train=False))
    assert do.Fetch(scoring) in step(grown(100), on.Assigned(1, scoring), at_s=0.0)[1]


def test_the_control_plane_is_told_not_to_ask() -> None:
    """By the count on the dataset's card, until enough is new; what is wrong with it otherwise stays."""
    cards = (DatasetCard(DATASET, 103), DatasetCard("other", 5), DatasetCard("broken", 0, problem="no such file"))
    told = novelty.told(grown(103), cards)
    assert told[0].problem.startswith("it has 3 new examples") and told[1:] == cards[1:]
    enough = (DatasetCard(DATASET, 110), *cards[1:])
    assert novelty.told(grown(103), enough) == enough, "the session hears of it a moment later"
    assert do.Announce() in FOLLOWED, "as soon as it is so"


def test_without_the_wish_nothing_is_kept() -> None:
    """Any task is taken, and the journal says nothing of it."""
    plain = replace(TRAINING, box=replace(EAGER, min_new_examples=0))
    session, _ = step(plain, on.Trained(T1.id, 1, delta_of(T1.id), METRICS), at_s=0.0)
    assert session.trained == () and DONE.trained != ()
