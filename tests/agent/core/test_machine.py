"""What follows when something happens to an agent."""

from dataclasses import replace

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.course import DENIED_MS
from headwater_agent.core.machine import resume, stand_down, wake_at_s
from headwater_agent.core.session import DAY_MS, Box, DatasetFact, InstallState, Stage
from headwater_agent.core.telling import needed, progress, sync_request
from headwater_agent.edges import records
from headwater_wire.ids import TaskId
from headwater_wire.messages import (
    Failed,
    Phase,
    Plan,
    Progress,
    Receipt,
    ReceiptKind,
    Rejected,
    SyncAnswer,
    TaskReport,
)
from headwater_wire.plausible import TOLD_AT_ONCE

from tests.agent.core.playing import EMPTY, SPOOLED, T1, TRAINING, after, synced
from tests.fakes.agent_bundle import DATASET, DEVICE, task
from tests.fakes.agent_world import METRICS, delta_of, deployment


def test_a_task_goes_from_assignment_to_receipt() -> None:
    """Accepted, fetched, trained, uploaded, forgotten: each step is asked for once."""
    session, commands = after(on.Assigned(1, T1))
    assert (session.revision, commands) == (1, (do.Fetch(T1),))
    session, commands = after(on.Fetched(T1.id), session=session)
    assert commands == (do.Train(T1, 1),)
    session, commands = after(on.Trained(T1.id, 1, delta_of(T1.id), METRICS), session=session)
    assert commands == (do.Upload(T1, 1, delta_of(T1.id), METRICS),)
    session, commands = after(on.Receipted(T1.id, Receipt(ReceiptKind.COMMITTED)), session=session)
    assert commands == (do.Discard(T1.id),)
    assert not session.held and [item.task for item in session.finished] == [T1.id]


def test_one_task_trains_at_a_time() -> None:
    """A second task waits until the first one's delta is spooled."""
    session, commands = after(on.Assigned(1, T1), on.Assigned(2, task("t2")))
    assert commands == ()
    session, _ = after(on.Fetched(T1.id), session=session)
    session, commands = after(on.Trained(T1.id, 1, delta_of(T1.id), METRICS), session=session)
    assert commands[1:] == (do.Fetch(task("t2")),)


def test_a_task_that_only_scores_ends_in_a_report() -> None:
    """No delta, no upload: the metrics go by Sync, and stay until one that carried them was answered."""
    scoring = task("t1", plan=Plan(train=False))
    session, commands = after(on.Assigned(1, scoring), on.Fetched(T1.id), on.Scored(T1.id, 1, METRICS))
    assert commands == (do.Sync(),)
    assert len(session.reports) == 1
    early = synced(scoring)
    session, _ = after(early, session=session)
    assert len(session.reports) == 1, "the answer to an earlier Sync says nothing of this report"
    session, commands = after(synced(session=session), session=session)
    assert (session.reports, commands) == ((), ())


def test_what_is_too_much_for_one_sync_the_next_one_tells() -> None:
    """A box that was off the network for long has a lot to say, and is refused if it says all at once."""
    many = tuple(TaskReport(TaskId(f"t{number}"), Failed("x")) for number in range(TOLD_AT_ONCE + 1))
    session = replace(EMPTY, reports=many)
    session, commands = after(synced(session=session), session=session)
    assert (session.reports, commands) == (many[TOLD_AT_ONCE:], (do.Sync(),))
    session, commands = after(synced(session=session), session=session)
    assert (session.reports, commands) == ((), ())


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (on.TrainingRefused(T1.id, 1, "no such column"), Rejected("no such column")),
        (on.TrainingBroke(T1.id, 1, "the loss is NaN"), Failed("the loss is NaN")),
    ],
)
def test_what_the_worker_says_becomes_the_report(event: on.Event, outcome: object) -> None:
    """Refused at once is rejected; tried and broken is failed: the reason stays."""
    session, _ = after(event, session=TRAINING)
    assert [report.outcome for report in session.reports] == [outcome]


def test_a_worker_that_dies_three_times_ends_the_task_for_a_day() -> None:
    """Failed, and the same model on the same data is rejected until tomorrow, with the reason."""
    session, _ = after(synced(T1))
    session, _ = after(on.Fetched(T1.id), session=session)
    for attempt in (1, 2):
        session, commands = after(on.WorkerDied(T1.id, attempt, "SIGKILL"), session=session)
        assert commands == (do.Train(T1, attempt + 1),)
    session, _ = after(on.WorkerDied(T1.id, 3, "SIGKILL"), session=session)
    assert "3 times" in str(session.reports[0].outcome) and "SIGKILL" in str(session.reports[0].outcome)
    later = task("t2", deadline_ms=10**12)
    refused, commands = after(on.Assigned(2, later), session=session, at_s=DENIED_MS / 1000 - 2)
    assert commands == (do.Sync(),) and isinstance(refused.reports[-1].outcome, Rejected)
    assert "not tried for a day" in refused.reports[-1].outcome.reason
    _, commands = after(on.Assigned(2, later), session=session, at_s=DENIED_MS / 1000 + 2)
    assert commands == (do.Fetch(later),)
    changed = on.Surveyed((DatasetFact(DATASET, "f2"),))
    _, commands = after(changed, on.Assigned(2, later), session=session, at_s=5)
    assert commands == (do.Fetch(later),), "other data may work"


def test_a_death_told_twice_counts_once() -> None:
    """The attempt number tells a copy from the next death."""
    session, _ = after(on.WorkerDied(T1.id, 1, "x"), on.WorkerDied(T1.id, 1, "x"), session=TRAINING)
    assert session.held[0].attempts == 2


@pytest.mark.parametrize(
    ("facts", "words"),
    [((), "no dataset"), ((DatasetFact(DATASET, "f", "it is empty"),), "it is empty")],
)
def test_a_task_for_data_the_box_lacks_is_rejected(facts: tuple[DatasetFact, ...], words: str) -> None:
    """The reason says what is wrong with the dataset."""
    session, commands = after(on.Assigned(1, T1), session=replace(EMPTY, box=Box(DEVICE, facts)))
    assert commands == (do.Sync(),)
    assert words in str(session.reports[0].outcome)


def test_a_box_takes_so_many_tasks_and_no_more() -> None:
    """A queue has a bound."""
    session, _ = after(*(on.Assigned(n, task(f"t{n}")) for n in range(1, 66)))
    assert len(session.held) == 64
    assert "already holds" in str(session.reports[0].outcome)


# ── messages, late and lost ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("event", [on.Assigned(4, T1), on.Withdrawn(4, T1.id), on.DeploymentWanted(4, deployment(9))])
def test_a_message_older_than_the_revision_held_changes_nothing(event: on.Event) -> None:
    """What a Sync has answered already says more."""
    session = replace(TRAINING, revision=5, seen=5)
    assert after(event, session=session) == (session, ())


def test_a_gap_in_the_revisions_is_healed_by_a_sync() -> None:
    """The message is obeyed, but what was missed is not counted as held."""
    session, commands = after(on.Assigned(3, T1))
    assert commands == (do.Sync(), do.Fetch(T1))
    assert (session.revision, session.seen) == (0, 3)


def test_an_answer_overtaken_by_a_message_ends_nothing() -> None:
    """A Sync asked before the assignment was made knows nothing of the task: it must not stop it."""
    session, _ = after(on.Assigned(3, T1))
    session, commands = after(synced(revision=2), session=session)
    assert session.holding(T1.id) and commands == ()
    session, commands = after(synced(T1, revision=3), session=session)
    assert session.holding(T1.id) and session.revision == 3


def test_a_server_restored_from_a_backup_is_believed() -> None:
    """Only then is an answer older than the revision it was asked with."""
    session = replace(TRAINING, revision=9, seen=9)
    session, commands = after(synced(revision=4, session=session), session=session)
    assert session.revision == 4 and commands == (do.StopTraining(T1.id),)


def test_an_answer_brings_what_was_missed_and_ends_what_is_over() -> None:
    """Tasks beyond the answer are over; those in it are taken."""
    other = task("t2")
    session, commands = after(synced(other, revision=2), session=TRAINING)
    assert commands == (do.StopTraining(T1.id), do.Fetch(other))
    assert [held.task.id for held in session.held] == ["t2"]
    assert not session.reports


def test_a_spooled_delta_is_offered_though_its_task_is_over() -> None:
    """It gets its final receipt, whatever that is."""
    assert after(on.Withdrawn(2, T1.id), session=SPOOLED)[0].holding(T1.id)
    session, commands = after(synced(revision=2), session=SPOOLED)
    assert session.holding(T1.id) and commands == ()
    session, commands = after(on.Receipted(T1.id, Receipt(ReceiptKind.CANCELLED)), session=session)
    assert commands == (do.Discard(T1.id),)


@pytest.mark.parametrize("event", [on.Connected(), on.Rung()])
def test_whoever_may_have_missed_something_syncs(event: on.Event) -> None:
    """After each connect, and when asked."""
    assert after(event)[1] == (do.Sync(),)


def test_the_server_can_ask_for_the_registration() -> None:
    """It has lost it, or never got it."""
    event = synced()
    event = replace(event, answer=replace(event.answer, hello_wanted=True))
    assert after(event)[1] == (do.Announce(),)


# ── restarts ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_training_that_died_with_the_agent_was_an_attempt() -> None:
    """The counter was saved before it began; a box that reboots by training stops doing so."""
    session, commands = resume(TRAINING, at_s=0.0)
    assert commands == (do.Fetch(T1),)
    for attempt in (2, 3):
        session, commands = after(on.Fetched(T1.id), session=session)
        assert commands == (do.Train(T1, attempt),)
        session, commands = resume(session, at_s=0.0)
    assert set(commands) == {do.StopTraining(T1.id), do.Sync()}, "its checkpoints go with it"
    assert isinstance(session.reports[0].outcome, Failed) and session.denied
    assert "not try this model on this data again for a day" in session.reports[0].outcome.reason


def test_the_day_of_a_denial_begins_when_the_time_is_known() -> None:
    """A box that was off for two days, and whose training ends it at its start, rests for a day of the server's."""
    last = replace(TRAINING, held=(replace(TRAINING.held[0], attempts=3),))
    session, _ = resume(last, at_s=0.0)
    session, _ = records.load(records.dump(session), session.box)
    session, _ = resume(session, at_s=0.0)
    now_ms = 1_000_000 + 2 * DAY_MS
    heard = on.Synced(sync_request(session, epoch=1, hello_hash=""), SyncAnswer(0, now_ms, 1, False, (), (), 30))
    session, _ = after(heard, session=session)
    assert [denied.until_ms for denied in session.denied] == [now_ms + DAY_MS]
    session, _ = after(replace(heard, answer=replace(heard.answer, server_time_ms=now_ms + DAY_MS)), session=session)
    assert session.denied == (), "over, and not begun anew"


def test_what_was_denied_is_not_tried_for_another_task_that_is_held_already() -> None:
    """Else a box with many tasks of one model would die of it three times for each."""
    session, _ = after(on.Assigned(2, task("t2")), session=TRAINING)
    for attempt in (1, 2, 3):
        session, commands = after(on.WorkerDied(T1.id, attempt, "signal 9"), session=session)
    assert not session.held and do.Fetch(task("t2")) not in commands
    assert [type(report.outcome) for report in session.reports] == [Failed, Rejected]


def test_a_stop_in_good_order_is_no_attempt() -> None:
    """Nobody can keep a task from its end by restarting the service."""
    session, _ = resume(stand_down(TRAINING, at_s=0.0), at_s=0.0)
    assert session.held[0].tries == 0


def test_a_restart_offers_what_is_spooled_and_installs_what_is_wanted() -> None:
    """And reports what was not answered."""
    session, _ = after(on.DeploymentWanted(2, deployment(1)), session=SPOOLED)
    _, commands = resume(session, at_s=0.0)
    assert commands == (do.Upload(T1, 1, delta_of(T1.id), METRICS), do.FetchVersion(deployment(1)))
    session, _ = after(on.Installed(deployment(1).model, 1), session=session)
    assert do.Sync() in resume(session, at_s=0.0)[1]


def test_a_lost_spool_is_trained_again_while_there_are_attempts() -> None:
    """A corrupted delta is never uploaded."""
    session, commands = after(on.SpoolLost(T1.id, 1, "damaged"), session=SPOOLED)
    assert commands == (do.Fetch(T1),)
    session, _ = after(on.Fetched(T1.id), on.Trained(T1.id, 2, delta_of(T1.id), METRICS), session=session)
    session, _ = after(on.SpoolLost(T1.id, 1, "damaged"), session=session)
    assert session.held[0].stage is Stage.SPOOLED, "a late copy of the first loss"
    session, _ = after(on.SpoolLost(T1.id, 2, "damaged"), on.Fetched(T1.id), session=session)
    session, _ = after(
        on.Trained(T1.id, 3, delta_of(T1.id), METRICS), on.SpoolLost(T1.id, 3, "damaged"), session=session
    )
    assert [report.outcome for report in session.reports] == [Failed("damaged")]


def test_a_lost_spool_past_its_deadline_fails() -> None:
    """There is no time left to train again."""
    session, _ = after(synced(T1))
    session, _ = after(on.Fetched(T1.id), on.Trained(T1.id, 1, delta_of(T1.id), METRICS), session=session)
    session, commands = after(on.SpoolLost(T1.id, 1, "damaged"), session=session, at_s=1_000.0)
    assert isinstance(session.reports[0].outcome, Failed) and do.Fetch(T1) not in commands


# ── installs ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_older_generation_is_ignored() -> None:
    """Whatever its revision."""
    session, commands = after(on.DeploymentWanted(1, deployment(5)))
    assert commands == (do.FetchVersion(deployment(5)),)
    assert after(on.DeploymentWanted(2, deployment(4)), session=session)[1] == ()
    assert after(on.DeploymentWanted(2, deployment(5)), session=session)[1] == ()


def test_a_newer_generation_replaces_an_install_under_way() -> None:
    """The old one's end is not told any more."""
    session, commands = after(on.DeploymentWanted(1, deployment(1)), on.DeploymentWanted(2, deployment(2)))
    assert commands == (do.AbandonInstall(deployment(1).model, 1), do.FetchVersion(deployment(2)))
    session, commands = after(on.Installed(deployment(1).model, 1), session=session)
    assert commands == () and session.installs[0].state is InstallState.WANTED
    session, commands = after(on.InstallFailed(deployment(2).model, 2, "other outputs"), session=session)
    assert commands == (do.Sync(),) and session.install_reports[0].problem == "other outputs"


def test_a_check_that_keeps_ending_the_agent_is_given_up() -> None:
    """After three lives, counted before each check, and the control plane learns why; a new rollout counts anew."""
    wanted = deployment(1)
    session, _ = after(on.DeploymentWanted(1, wanted))
    for life in (1, 2, 3):
        session, commands = after(on.VersionFetched(wanted.model, 1), session=session)
        assert (commands, session.installs[0].attempts) == ((do.Install(wanted),), life)
        assert after(on.VersionFetched(wanted.model, 1), session=session) == (session, ()), "a copy counts nothing"
        session, commands = resume(session, at_s=0.0)
        assert (do.FetchVersion(wanted) in commands) == (life < 3)
    assert session.installs[0].state is InstallState.FAILED
    assert "the agent died 3 times while it was checked" in session.install_reports[0].problem
    assert resume(session, at_s=0.0)[1] == (do.Sync(),)
    assert after(on.DeploymentWanted(2, deployment(2)), session=session)[0].installs[0].attempts == 0


def test_an_install_that_was_not_being_checked_is_begun_again_whatever_the_lives() -> None:
    """Power that fails every day while a slow link brings the version, or a stop in good order, says nothing of it."""
    wanted = deployment(1)
    session, _ = after(on.DeploymentWanted(1, wanted))
    for _ in range(9):
        session, commands = resume(session, at_s=0.0)
        assert do.FetchVersion(wanted) in commands
    for _ in range(9):
        session = stand_down(after(on.VersionFetched(wanted.model, 1), session=session)[0], at_s=0.0)
        session, commands = resume(session, at_s=0.0)
        assert do.FetchVersion(wanted) in commands and session.installs[0].attempts == 0


# ── what is told ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_heartbeat_tells_the_live_progress_where_there_is_one() -> None:
    """Steps and losses are not in the session."""
    live = Progress(T1.id, Phase.TRAINING, 3, 10, 0.7)
    assert progress(TRAINING, {T1.id: live}) == (live,)
    assert progress(SPOOLED, {}) == (Progress(T1.id, Phase.SPOOLED),)


def test_only_what_will_be_used_is_needed() -> None:
    """A spooled task needs its bundle no more; a wanted install needs its blobs."""
    assert needed(TRAINING) == {T1.bundle.digest, T1.base.digest}
    session, _ = after(on.DeploymentWanted(2, deployment(1)), session=SPOOLED)
    assert needed(session) == {deployment(1).onnx.digest}


def test_a_spooled_delta_is_offered_past_its_deadline() -> None:
    """The server says TOO_LATE, and only then is it deleted."""
    session, _ = after(synced(T1))
    session, _ = after(on.Fetched(T1.id), on.Trained(T1.id, 1, delta_of(T1.id), METRICS), session=session)
    session, commands = after(on.TimePassed(0.5), session=session, at_s=5_000.0)
    assert session.holding(T1.id) and commands == () and not session.reports
    assert wake_at_s(session) is None
