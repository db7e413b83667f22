"""What a person on the box is told: the work, and if there is none, what stands in the way."""

from dataclasses import replace

import pytest
from headwater_agent.core.session import Box, DatasetFact, Held, Install, InstallState, ServerTime, Session, Stage
from headwater_agent.core.status import Activity, Data, Reach, Waiting, describe, reach_of
from headwater_wire.messages import Blob, Phase, Progress

from tests.fakes.agent_bundle import DATASET, DEVICE, task
from tests.fakes.agent_world import METRICS, deployment

REACHED = Reach("b:1", "g:2", connected=True, synced_s=3.0)
CUT_OFF = replace(REACHED, connected=False)
READY = Session(Box(DEVICE, (DatasetFact(DATASET),)), time=ServerTime(1_000_000))
T1 = task("t1", deadline_ms=2_000_000)


def test_a_clock_that_was_set_since_the_last_sync_is_told() -> None:
    """What it is off by is counted now, not remembered; before the first answer of this life nobody knows."""
    time = ServerTime(1_000_000, at_s=50.0, answered_s=50.0)
    fine = reach_of(time, "b:1", "g:2", connected=False, at_s=110.0, wall_s=1_060.5)
    assert (fine.synced_s, fine.clock_ahead_s) == (60.0, 0.5)
    assert reach_of(time, "b:1", "g:2", connected=False, at_s=110.0, wall_s=11_860.0).clock_ahead_s == 10_800.0
    new = reach_of(replace(time, answered_s=None), "b:1", "g:2", connected=False, at_s=110.0, wall_s=1_060.0)
    assert (new.synced_s, new.clock_ahead_s) == (None, None)


def idle(session: Session, reach: Reach = REACHED) -> str:
    """Say why nothing happens."""
    return describe(session, {}, reach, at_s=0.0).idle


def boxed(**changes: object) -> Session:
    """Change what is known of the box."""
    return replace(READY, box=replace(READY.box, **changes))  # type: ignore[arg-type]


def test_what_stands_first_in_the_way_is_told() -> None:
    """The owner's word, a pause, data, the connection; else nobody has asked."""
    assert idle(READY) == "nothing is asked of this box: no run has chosen it"
    assert idle(READY, CUT_OFF).startswith("the broker can't be reached (the gateway is asked")
    assert "nor was the gateway yet" in idle(READY, replace(CUT_OFF, synced_s=None))
    assert idle(boxed(datasets=())).startswith("no dataset is declared")
    assert idle(boxed(datasets=(DatasetFact("d", problem="gone"),)), CUT_OFF) == "no dataset can be used: d: gone"
    assert idle(boxed(waiting="maintenance: paused", datasets=())) == "maintenance: paused"
    assert idle(boxed(refusal="no Landlock", waiting="it is hot")) == "no Landlock"


@pytest.mark.parametrize("stage", [Stage.FETCHING, Stage.TRAINING])
def test_while_something_happens_nothing_is_idle(stage: Stage) -> None:
    """Also in a pause that the training has not heard of yet."""
    assert idle(replace(boxed(waiting="paused"), held=(Held(T1, 1, stage),))) == ""


def test_a_training_is_told_with_its_progress() -> None:
    """As the heartbeat tells it; a loss that is not a number is none, since JSON has no such."""
    session = replace(READY, held=(Held(T1, 1, Stage.TRAINING, attempts=2),))
    live = {T1.id: Progress(T1.id, Phase.TRAINING, 3, 10, float("nan"), "its turn")}
    told = describe(session, live, REACHED, at_s=0.0).tasks
    assert told == (Activity(T1.id, "training", DATASET, T1.base_version, 2, 3, 10, None, "its turn"),)


def test_a_delta_that_waits_is_told_apart() -> None:
    """With what was sent of it, and whether the control plane will call it too late."""
    held = Held(T1, 1, Stage.SPOOLED, attempts=1, delta=Blob(T1.base.digest, 100), metrics=METRICS)
    session = replace(READY, held=(held,))
    live = {T1.id: Progress(T1.id, Phase.UPLOADING, 40, 100)}
    told = describe(session, live, REACHED, at_s=0.0)
    assert told.spooled == (Waiting(T1.id, T1.base_version, DATASET, 100, 40, "", too_late=False),)
    assert told.tasks == () and told.idle == ""
    assert describe(session, {}, CUT_OFF, at_s=2000.0).spooled[0].too_late
    assert idle(session, CUT_OFF).startswith("a delta waits for the control plane")


def test_the_data_are_told_as_the_agent_found_them() -> None:
    """For who may read more than it."""
    facts = (DatasetFact("a", examples=7), DatasetFact("b", problem="Permission denied"), DatasetFact("c"))
    told = describe(boxed(datasets=facts), {}, REACHED, at_s=0.0).datasets
    assert told == (Data("a", 7, ""), Data("b", None, "Permission denied"), Data("c", None, ""))


def test_what_is_installed_is_told() -> None:
    """By model and version, whatever became of it."""
    session = replace(READY, installs=(Install(deployment(2), InstallState.FAILED),))
    (told,) = describe(session, {}, REACHED, at_s=0.0).installed
    assert (told.model, told.version, told.state) == (deployment(2).model, deployment(2).version, "failed")
