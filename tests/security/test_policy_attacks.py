"""A control plane, or who speaks for it, that asks a box for more than its owner allows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import resume, step
from headwater_agent.core.policy import Floor, Limits, Policy
from headwater_agent.core.session import DAY_MS, Box, DatasetFact, Sent, ServerTime, Session
from headwater_agent.core.telling import sync_request
from headwater_agent.training.desk import Desk
from headwater_agent.training.engines import engine
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.floors import l2_norm
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig, Protect, Reply, Train
from headwater_wire import codecs, convert
from headwater_wire.errors import Malformed
from headwater_wire.ids import VersionId
from headwater_wire.messages import Blob, Plan, Rejected, SyncAnswer, Task
from headwater_wire.v1 import fleet_pb2 as fleet
from hypothesis import given

from tests.agent.training import bundles
from tests.fakes.agent_bundle import DATASET, DEVICE, task
from tests.fakes.agent_world import METRICS
from tests.support import wire_records as wire

LIMITS = Limits(
    models=("m",),
    labels=(("purpose", ("quality",)),),
    max_epochs=3,
    max_batch_size=64,
    max_mb_up=1.0,
    floor=Floor(min_examples=50),
)
POLICY = Policy(allow_datasets=(DATASET,), mb_up_a_day=1.5, general=LIMITS)
NOW = ServerTime(20 * DAY_MS)
FACTS = (DatasetFact(DATASET, "f1", examples=100), DatasetFact("private", "f2", examples=100))
BOX = Session(Box(DEVICE, FACTS, policy=POLICY), time=NOW)
ALLOWED = replace(
    task(deadline_ms=NOW.server_ms + 5 * DAY_MS, plan=Plan(epochs=3, batch_size=64)), labels=(("purpose", "quality"),)
)


def ask(wanted: Task, session: Session = BOX, *, by_sync: bool = False) -> tuple[Session, tuple[do.Command, ...]]:
    """Send the box a task as bytes; give what it does."""
    asked = convert.task_from(fleet.Task.FromString(convert.task_to(wanted).SerializeToString()))
    event: on.Event = on.Assigned(session.revision + 1, asked)
    if by_sync:
        answer = SyncAnswer(session.revision + 1, NOW.server_ms, 1, False, (asked,), (), 30)
        event = on.Synced(sync_request(session, epoch=1, hello_hash=""), answer)
    return step(session, event, at_s=0.0)


def refused(outcome: tuple[Session, tuple[do.Command, ...]]) -> str:
    """Say why the task was rejected; it must have been, with nothing fetched, trained or uploaded."""
    session, commands = outcome
    assert not session.held and not [c for c in commands if isinstance(c, do.Fetch | do.Train | do.Upload)]
    (report,) = session.reports
    assert isinstance(report.outcome, Rejected)
    return report.outcome.reason


@pytest.mark.parametrize("by_sync", [False, True])
def test_what_the_owner_allows_is_done(by_sync: bool) -> None:
    """Else the refusals below would prove nothing."""
    session, commands = ask(ALLOWED, by_sync=by_sync)
    assert do.Fetch(ALLOWED) in commands and session.holding(ALLOWED.id)


@pytest.mark.parametrize("by_sync", [False, True])
@pytest.mark.parametrize(
    ("wanted", "setting"),
    [
        (replace(ALLOWED, base_version=VersionId("other-1")), "models"),
        (replace(ALLOWED, dataset="private"), "allow_datasets"),
        (replace(ALLOWED, labels=()), "labels.purpose"),
        (replace(ALLOWED, labels=(("purpose", "advertising"),)), "labels.purpose"),
        (replace(ALLOWED, labels=(("Purpose", "quality"), ("quality", "purpose"))), "labels.purpose"),
        (replace(ALLOWED, plan=replace(ALLOWED.plan, epochs=4)), "max_epochs"),
        (replace(ALLOWED, plan=replace(ALLOWED.plan, epochs=2**32 - 1)), "max_epochs"),
        (replace(ALLOWED, plan=replace(ALLOWED.plan, batch_size=65)), "max_batch_size"),
        (replace(ALLOWED, base=Blob(ALLOWED.base.digest, 2**63 - 1)), "max_mb_up"),
    ],
)
def test_what_goes_beyond_is_rejected_on_both_ways(wanted: Task, setting: str, by_sync: bool) -> None:
    """Over MQTT and by Sync alike, with the setting's name."""
    assert f"policy.{setting} " in refused(ask(wanted, by_sync=by_sync))


def test_too_few_examples_are_not_trained_on() -> None:
    """As the box has counted them, not as anybody claims."""
    few = replace(BOX, box=replace(BOX.box, datasets=(DatasetFact(DATASET, "f1", examples=49),)))
    assert "policy.min_examples is 50" in refused(ask(ALLOWED, few))


@pytest.mark.parametrize(
    "version",
    [
        "m", "m-", "m-0", "m-01", "m-00000001", "m-1.0", "m-1-1", "m--1", "m-1-", "m-1e3", "m-0x1", "M-1", "m.-1",
        "m_1", "mm-1", "x-m-1", "xm-1", "other-1", "other-m-1", "m-other-1", "m-1_0", "m-1_", "m.1", "1-m",
    ],
)  # fmt: skip
def test_a_strangely_spelled_version_passes_as_no_allowed_model(version: str) -> None:
    """Only `m-` and a number without a leading zero is a version of m."""
    assert "policy.models " in refused(ask(replace(ALLOWED, base_version=version)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "version",
    ["", "m-1\n", "\nm-1", " m-1", "m-1 ", "m-\u0661", "m-\u00b9", "\u217f-1", "../m-1", "m-1/../x-1", "m\0-1"],
)
def test_what_is_no_name_at_all_never_reaches_the_core(version: str) -> None:
    """It is turned away as malformed."""
    message = convert.task_to(ALLOWED)
    message.base_version = version
    with pytest.raises(Malformed):
        convert.task_from(fleet.Task.FromString(message.SerializeToString()))


@given(wire.NAMES)
def test_no_other_name_passes(version: str) -> None:
    """Whatever a version may be called, m's are those of m."""
    spelled = version.startswith("m-") and version[2:].isdigit() and version[2] != "0"
    session, _ = ask(replace(ALLOWED, base_version=version))  # type: ignore[arg-type]
    assert bool(session.held) == spelled


def test_a_refused_task_sent_again_stays_refused() -> None:
    """A copy, and a copy after a restart, change nothing."""
    session, _ = ask(replace(ALLOWED, dataset="private"))
    again, commands = ask(replace(ALLOWED, dataset="private"), session)
    assert again.reports == session.reports and not again.held and commands == ()
    after, commands = resume(again, at_s=0.0)
    assert not after.held and commands == (do.Sync(),)


def test_many_small_tasks_don_t_get_around_the_day_s_megabytes() -> None:
    """Sent at once or one after the other, and with a clock that is set back and forth once the day has begun."""
    session, taken = replace(BOX, sent=Sent(20, 0)), 0
    for number in range(30):
        wanted = replace(ALLOWED, id=f"t{number}", base=Blob(ALLOWED.base.digest, 100_000))  # type: ignore[arg-type]
        session, _ = ask(wanted, session)
        back_ms = NOW.server_ms - (number % 3) * DAY_MS
        answer = SyncAnswer(session.revision, back_ms, 1, False, tuple(h.task for h in session.held), (), 30)
        session, _ = step(session, on.Synced(sync_request(session, epoch=1, hello_hash=""), answer), at_s=0.0)
        if number % 2 and session.holding(wanted.id):
            for held in session.held:
                session, _ = step(session, on.Fetched(held.task.id), at_s=0.0)
                made = on.Trained(held.task.id, 1, held.task.base, METRICS)
                session, _ = step(session, made, at_s=0.0)
        taken += session.holding(wanted.id) is not None
    assert taken == 15, "1.5 MB are fifteen times 100 kB"


# ── in the training child ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def job(tmp_path: Path) -> Train:
    """A job of a task that does all it can to send much of the data up."""
    files = bundles.linear(tmp_path / "bundle")
    np.savez(tmp_path / "data.npz", x=np.full((100, 4), 1e4, np.float32), label=np.zeros(100, np.int64))
    columns = (ColumnConfig("x", ("x",)), ColumnConfig("label", ("label",), dtype="int64"))
    return Train(
        "task-1",
        str(files.manifest_path),
        files.blobs,
        str(files.base_path),
        str(tmp_path / "delta"),
        DatasetConfig("private", "npz", str(tmp_path / "data.npz"), columns),
        Plan(epochs=5, batch_size=1, learning_rate=1e3, seed=5, holdout=0.25, threads=1, clip_norm=0.0),
    )


def work(job: Train) -> Reply:
    """Have one worker's desk do it, and another protect what came of it, as the daemon has."""
    desk = Desk(lambda: engine("portable"))
    try:
        reply = desk.do(job, lambda step: None)
    finally:
        desk.close()
    protect = Protect(job.delta_path, job.delta_path, 15, job.plan.codec, job.floor)
    return desk.do(protect, lambda step: None) if job.floor.clip_norm else reply


@pytest.mark.parametrize(("holdout", "train"), [(0.97, True), (0.02, True), (0.02, False)])
def test_a_held_out_share_can_t_single_examples_out(job: Train, holdout: float, train: bool) -> None:
    """Neither by leaving few to train on, nor by scoring few: the figure would be theirs."""
    aimed = replace(job, plan=replace(job.plan, holdout=holdout, train=train), floor=Floor(min_examples=10))
    with pytest.raises(NotPossible, match=r"policy\.min_examples is 10"):
        work(aimed)
    assert not Path(job.delta_path).exists()


def test_no_plan_lifts_the_owner_s_norm(job: Train) -> None:
    """A huge learning rate and no clipping of its own."""
    work(replace(job, floor=Floor(clip_norm=0.25)))
    with codecs.open_delta(Path(job.delta_path), "f32", 15) as floats:
        assert 0 < l2_norm(floats.load()) <= 0.25


def test_no_seed_foretells_the_noise(job: Train) -> None:
    """Who knows the task can't take the noise away again: the same one twice bears another."""
    deltas = []
    for _ in range(2):
        work(replace(job, floor=Floor(clip_norm=0.25, noise_multiplier=1.0)))
        with codecs.open_delta(Path(job.delta_path), "f32", 15) as floats:
            deltas.append(floats.load())
    assert (deltas[0] != deltas[1]).all()
