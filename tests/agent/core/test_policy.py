"""What the box's owner lets a task do: nothing within the limits is refused, whatever is outside is."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from headwater_agent.core.policy import (
    MB,
    Floor,
    Limits,
    Policy,
    bundle_objection,
    delta_objection,
    model_of,
    objection,
)
from headwater_agent.core.session import DAY_MS, Sent
from headwater_wire.ids import ModelName, VersionId, version_id
from headwater_wire.messages import Plan, Task
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.fakes.agent_bundle import task
from tests.support import wire_records as wire

MODELS = ("m", "digits", "digits-2", "a.b_c-10")
KEYS, VALUES = ("site", "purpose"), ("north", "south", "quality")
LIMIT = st.integers(0, 4)
LIMITS = st.builds(
    Limits,
    models=st.none() | st.lists(st.sampled_from(MODELS), max_size=2).map(tuple),
    labels=st.dictionaries(
        st.sampled_from(KEYS), st.lists(st.sampled_from(VALUES), min_size=1, max_size=2).map(tuple), max_size=2
    ).map(lambda labels: tuple(labels.items())),
    max_epochs=LIMIT,
    max_batch_size=LIMIT,
    max_minutes=LIMIT.map(float),
    max_mb_up=LIMIT.map(float),
    floor=st.builds(Floor, min_examples=LIMIT, clip_norm=LIMIT.map(float)),
)
POLICIES = st.builds(
    Policy,
    allow_datasets=st.none() | st.lists(st.sampled_from(("numbers", "faces")), max_size=2).map(tuple),
    mb_up_a_day=LIMIT.map(float),
    general=LIMITS,
    datasets=st.dictionaries(st.sampled_from(("numbers", "faces")), LIMITS, max_size=1).map(
        lambda limits: tuple(limits.items())
    ),
)


@st.composite
def within(draw: st.DrawFn, policy: Policy) -> tuple[Task, int, int]:
    """Draw a task within every limit, its dataset's examples, and what has gone up today."""
    datasets = ("numbers", "faces") if policy.allow_datasets is None else policy.allow_datasets
    assume(datasets)
    dataset = draw(st.sampled_from(datasets))
    limits = policy.limits(dataset)
    models = MODELS if limits.models is None else limits.models
    assume(models)
    day = int(policy.mb_up_a_day * MB)
    up = draw(st.integers(0, day))
    most = [size for size in (int(limits.max_mb_up * MB), day - up if day else 0) if size]
    required = {key: draw(st.sampled_from(values)) for key, values in limits.labels}
    made = replace(
        task(dataset=dataset),
        base_version=version_id(ModelName(draw(st.sampled_from(models))), draw(st.integers(1, 10**9))),
        labels=tuple(sorted((draw(st.dictionaries(wire.NAMES, wire.NAMES, max_size=2)) | required).items())),
        base=replace(
            task().base, size=draw(st.integers(0, min(most) if most else 10**12)) if not day or day - up else 0
        ),
        plan=Plan(
            epochs=draw(st.integers(1, limits.max_epochs or 10**6)),
            batch_size=draw(st.integers(1, limits.max_batch_size or 10**6)),
        ),
    )
    return made, draw(st.integers(limits.floor.min_examples, 10**6)), up


@given(st.data())
def test_a_task_within_every_limit_is_never_refused(data: st.DataObject) -> None:
    """Whatever else it asks for; and a task that only scores is held to fewer of them."""
    policy = data.draw(POLICIES)
    made, examples, up = data.draw(within(policy))
    assert objection(policy, made, examples=examples, up_bytes=up) == ""
    assert objection(policy, made, examples=None, up_bytes=up) == "", "what is not known yet refuses nothing"
    scoring = replace(made, plan=Plan(train=False, epochs=10**6, batch_size=10**6))
    assert objection(policy, scoring, examples=examples, up_bytes=10**15) == ""


Broken = tuple[Policy, Task, int, int]
BREAKS: dict[str, Callable[[Policy, Task, int, int], Broken]] = {
    "allow_datasets": lambda policy, made, n, up: (replace(policy, allow_datasets=("else",)), made, n, up),
    "models": lambda policy, made, n, up: (policy, replace(made, base_version=VersionId("other-1")), n, up),
    "labels.site": lambda policy, made, n, up: (policy, replace(made, labels=(("site", "moon"),)), n, up),
    "max_epochs": lambda policy, made, n, up: (
        policy,
        replace(made, plan=replace(made.plan, epochs=policy.limits(made.dataset).max_epochs + 1)),
        n,
        up,
    ),
    "max_batch_size": lambda policy, made, n, up: (
        policy,
        replace(made, plan=replace(made.plan, batch_size=policy.limits(made.dataset).max_batch_size + 1)),
        n,
        up,
    ),
    "max_mb_up": lambda policy, made, n, up: (
        policy,
        replace(made, base=replace(made.base, size=int(policy.limits(made.dataset).max_mb_up * MB) + 1)),
        n,
        up,
    ),
    "mb_up_a_day": lambda policy, made, n, up: (policy, made, n, int(policy.mb_up_a_day * MB) - made.base.size + 1),
    "min_examples": lambda policy, made, n, up: (policy, made, policy.limits(made.dataset).floor.min_examples - 1, up),
}
EVERY_LIMIT = Limits(("m", "digits"), (("site", ("north",)),), 3, 8, 60.0, 2.0, Floor(5, 1.0, 1.0))


@pytest.mark.parametrize("setting", BREAKS)
@given(data=st.data())
def test_a_task_outside_any_limit_is_refused_by_its_name(setting: str, data: st.DataObject) -> None:
    """However well it keeps to the others, and wherever the limit stands."""
    overridden = data.draw(st.booleans())
    policy = Policy(
        mb_up_a_day=3.0,
        general=Limits() if overridden else EVERY_LIMIT,
        datasets=(("numbers", EVERY_LIMIT), ("faces", EVERY_LIMIT)) if overridden else (),
    )
    policy, made, examples, up = BREAKS[setting](policy, *data.draw(within(policy)))
    refused = objection(policy, made, examples=examples, up_bytes=up)
    assert f"policy.{setting} " in refused and len(refused) < 500


def test_a_dataset_s_own_limits_stand_instead_of_the_general_ones() -> None:
    """Looser or tighter; other datasets keep the general ones."""
    policy = Policy(general=Limits(max_epochs=2), datasets=(("numbers", Limits(max_epochs=5)),))
    five = Plan(epochs=5)
    assert objection(policy, task(plan=five), examples=None, up_bytes=0) == ""
    assert "max_epochs is 2, and the task asks for 5" in objection(
        policy, task(plan=five, dataset="faces"), examples=None, up_bytes=0
    )


@given(wire.MODELS, st.integers(1, 10**15))
def test_a_version_s_id_tells_its_model(model: ModelName, number: int) -> None:
    """Whatever the model is called, a name that ends in a number too."""
    assert model_of(version_id(model, number)) == model


@given(st.one_of(st.text(), st.from_regex(r"[a-z]{1,3}[-_]*[0-9\n]*"), wire.NAMES))
def test_no_other_spelling_tells_a_model(text: str) -> None:
    """What is read out of an id spells that same id again."""
    model = model_of(VersionId(text))
    if model is not None:
        assert text == version_id(model, int(text.removeprefix(f"{model}-")))


def test_the_bundle_and_the_delta_are_judged_by_what_they_are() -> None:
    """Not by what the task called them; where nothing is limited, nothing is refused."""
    limits = Limits(models=("m",), max_mb_up=1.0)
    assert bundle_objection(limits, ModelName("m")) == bundle_objection(Limits(), ModelName("x")) == ""
    assert "policy.models does not name 'x'" in bundle_objection(limits, ModelName("x"))
    assert delta_objection(limits, MB) == delta_objection(Limits(), 10**15) == ""
    assert "policy.max_mb_up is 1, and the delta has 1.000 MB" in delta_objection(limits, MB + 1)


@given(st.lists(st.tuples(st.integers(0, 5 * DAY_MS), st.integers(0, 100)), max_size=8))
def test_what_goes_up_is_counted_by_day(deltas: list[tuple[int, int]]) -> None:
    """Each day begins at nothing; a clock that is set back never makes room again."""
    sent, newest, told = Sent(), 0, 0
    for now_ms, size in deltas:
        sent = sent.plus(size, now_ms)
        day = now_ms // DAY_MS
        newest, told = (day, size) if day > newest else (newest, told + size)
        assert sent == Sent(newest, told)
        assert sent.on(now_ms) == told and sent.on((newest + 1) * DAY_MS) == 0
