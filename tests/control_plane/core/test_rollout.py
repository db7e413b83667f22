"""Deployments: terminal is final, and only the right generation counts."""

from dataclasses import replace

from headwater_control.core.rollout import (
    DeploymentRecord,
    DeploymentState,
    Rollout,
    RolloutState,
    meant_for,
    reported,
    settled,
    superseded,
)
from headwater_wire.ids import DeviceId, ModelName, RolloutId, VersionId
from headwater_wire.messages import DeploymentReport
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import START

MODEL, V1 = ModelName("digits"), VersionId("digits-1")
PENDING = DeploymentRecord(RolloutId("r"), DeviceId("d"), MODEL, V1, 5, DeploymentState.PENDING, START)
ROLLOUT = Rollout(RolloutId("r"), MODEL, V1, (("site", "a"),), 5, RolloutState.RUNNING, START)
REPORTS = st.builds(DeploymentReport, st.just(RolloutId("r")), st.just(MODEL), st.integers(4, 6), st.booleans())


@given(st.lists(st.one_of(REPORTS, st.none()), max_size=6))
def test_a_deployment_ends_once(events: list[DeploymentReport | None]) -> None:
    """Whatever is reported or overtaken (None), in whatever order: the first fitting event ends it, for good."""
    record, ends = PENDING, []
    for event in events:
        after = superseded(record, START) if event is None else reported(record, event, START)
        if after != record:
            ends.append(event)
        record = after
    fitting = [event for event in events if event is None or event.generation == 5]
    assert ends == fitting[:1]
    if ends:
        installed = DeploymentState.INSTALLED if ends[0] and ends[0].installed else DeploymentState.FAILED
        assert record.state is (DeploymentState.SUPERSEDED if ends[0] is None else installed)


@given(st.lists(st.sampled_from(DeploymentState)))
def test_a_rollout_is_over_when_nothing_is_pending(states: list[DeploymentState]) -> None:
    """COMPLETED, or CANCELLED if newer ones took all of it; and then it stays so."""
    records = [replace(PENDING, state=state) for state in states]
    end = settled(ROLLOUT, records)
    if DeploymentState.PENDING in states:
        assert end is ROLLOUT
    elif states and set(states) == {DeploymentState.SUPERSEDED}:
        assert end.state is RolloutState.CANCELLED
    else:
        assert end.state is RolloutState.COMPLETED
    assert settled(replace(ROLLOUT, state=RolloutState.CANCELLED), records).state is RolloutState.CANCELLED


def test_a_newcomer_is_meant_by_the_newest_running_rollout_of_each_model() -> None:
    """With matching labels; ended ones invite nobody."""
    newer = replace(ROLLOUT, id=RolloutId("newer"), generation=6)
    over = replace(ROLLOUT, id=RolloutId("over"), generation=7, state=RolloutState.COMPLETED)
    other = replace(ROLLOUT, id=RolloutId("other"), model=ModelName("faults"), labels=())
    everything = (newer, over, ROLLOUT, other)
    assert meant_for((("site", "a"), ("x", "y")), everything) == (newer, other)
    assert meant_for((("site", "b"),), everything) == (other,)
