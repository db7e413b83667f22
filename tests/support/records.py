"""Strategies for the store's records: everything that a store must give back exactly."""

import json
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from headwater_control.core.audit import Caller, Deed
from headwater_control.core.fleet import Device
from headwater_control.core.models import Model, Release
from headwater_control.core.rollout import DeploymentRecord, Rollout
from headwater_control.core.runs import Round, Run, RunSpec, TaskRecord
from headwater_wire.ids import Digest
from headwater_wire.messages import Blob, Column, Condition, ConditionState, DatasetCard, Inventory, Metrics
from hypothesis import strategies as st

from tests.support.rows import BOX, DIGITS, FIRST, ROLLOUT, RUN

T = TypeVar("T")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=80)
whole = st.integers(0, 2**63 - 1)
reals = st.floats(allow_nan=False)  # NaN is not equal to itself: it has a test of its own
# Fixed offsets: Python calls a zone's hour that is skipped or doubled unequal to every other spelling of its instant.
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=zones)  # noqa: DTZ001
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True).map(Digest)
blobs = st.builds(Blob, digests, whole)
labels = st.dictionaries(names, names, max_size=4).map(lambda found: tuple(sorted(found.items())))


def tuples(elements: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    """Draw tuples of up to three."""
    return st.lists(elements, max_size=3).map(tuple)


columns = st.builds(Column, names, names, tuples(st.integers(1, 2**40)))
cards = st.builds(DatasetCard, names, whole, tuples(columns), words)
inventories = st.builds(Inventory, words, words, words, whole, whole, whole, words, words)
metrics = st.builds(Metrics, whole, reals, whole, reals, st.none() | reals, reals, st.none() | reals)
specs = st.builds(
    RunSpec,
    model=names,
    dataset=names,
    base=names,
    rounds=whole,
    cohort=labels,
    over_select=reals,
    quorum=reals,
    learning_rate=reals,
    optimizer=words,
    momentum=reals,
    beta1=reals,
    beta2=reals,
    epsilon=reals,
    weight_decay=reals,
    clip_norm=reals,
    proximal=reals,
    seed=st.integers(0, 2**64 - 1),
    strategy=names,
    reproducible=st.booleans(),
)
devices = st.builds(
    Device,
    id=names,
    registered_at=times,
    labels=labels,
    inventory=inventories,
    datasets=tuples(cards),
    engines=tuples(names),
    conditions=tuples(st.builds(Condition, names, st.sampled_from(ConditionState), words)),
    hello_hash=digests,
    revision=whole,
    held_revision=whole,
    epoch=whole,
    seq=whole,
    online=st.booleans(),
    presence_at=st.none() | times,
    last_seen=st.none() | times,
)
models = st.builds(Model, st.just("other"), blobs, blobs, words, whole, times)
releases = st.builds(Release, blobs, blobs)
runs = st.builds(
    Run, st.just(RUN), specs, version=st.just(FIRST), round=whole, created_at=times, reason=words, ended_at=times
)
rounds = st.builds(
    Round,
    run=st.just(RUN),
    number=st.integers(1, 2**40),
    base=names,
    opened_at=times,
    target=whole,
    quorum=whole,
    deadline=st.none() | times,
    frozen=tuples(names),
    merged=st.none() | names,
    collected_at=st.none() | times,
    closed_at=st.none() | times,
    reason=words,
)
tasks = st.builds(
    TaskRecord,
    id=names,
    run=st.just(RUN),
    round=st.just(1),
    device=st.just(BOX),
    order=whole,
    opened_at=times,
    deadline=times,
    step=whole,
    steps=whole,
    loss=reals,
    waiting_for=words,
    progress_at=st.none() | times,
    reason=words,
    delta=st.none() | blobs,
    codec=names,
    metrics=st.none() | metrics,
    bytes_up=whole,
    bytes_down=whole,
    closed_at=st.none() | times,
)
rollouts = st.builds(Rollout, st.just(ROLLOUT), st.just(DIGITS), st.just(FIRST), labels, st.just(1), created_at=times)
deployments = st.builds(
    DeploymentRecord,
    rollout=st.just(ROLLOUT),
    device=st.just(BOX),
    model=names,
    version=names,
    generation=whole,
    updated_at=times,
    problem=words,
)
objects = st.dictionaries(names, words | whole | st.booleans() | st.none(), max_size=3).map(json.dumps)
deeds = st.builds(Deed, names, names, objects, objects)
callers = st.builds(Caller, names, names, names)
