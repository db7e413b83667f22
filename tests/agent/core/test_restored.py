"""What an agent makes of a control plane that was restored from a backup, which knows less than the agent was told."""

from dataclasses import replace

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import step
from headwater_agent.core.session import Finished, Install, InstallState, ServerTime, Session
from headwater_agent.core.telling import sync_request
from headwater_wire.eras import ERA, era, next_era
from headwater_wire.messages import Deployment, Failed, Rejected, SyncAnswer, Task, TaskReport

from tests.fakes.agent_bundle import task
from tests.fakes.agent_world import BOX, deployment

T1 = task("t1")
SYNCED = Session(BOX, revision=12, seen=14, time=ServerTime(1_000_000))
DONE = replace(SYNCED, finished=(Finished(T1.id, T1.deadline_ms),))


def answered(
    session: Session, *tasks: Task, wants: tuple[Deployment, ...] = (), revision: int = next_era(10)
) -> tuple[Session, tuple[do.Command, ...]]:
    """Let a Sync of `session` be answered, by default in the next era."""
    request = sync_request(session, epoch=1, hello_hash="")
    answer = SyncAnswer(revision, 1_000_000, 1, False, tasks, wants, 30)
    return step(session, on.Synced(request, answer), at_s=0.0)


def test_an_era_is_later_than_all_revisions_of_the_one_before() -> None:
    """However many changes a restored database has forgotten."""
    assert era(ERA - 1) == 0 and next_era(0) > ERA - 1 and era(next_era(ERA)) == 2


def test_what_a_restored_control_plane_answers_is_believed_at_once() -> None:
    """Though fewer changes are counted in it than were seen, and one was on its way."""
    session, commands = answered(SYNCED, T1)
    assert (session.revision, session.seen) == (next_era(10), next_era(10))
    assert commands == (do.Fetch(T1),)


def test_a_task_that_is_open_again_is_given_back() -> None:
    """Its delta was sent after the backup, and is not here any more: another device may be asked."""
    session, commands = answered(DONE, T1)
    assert [(report.task, type(report.outcome)) for report in session.reports] == [(T1.id, Failed)]
    assert commands == (do.Sync(),)


@pytest.mark.parametrize("reason", ["told", "same era", "too late"])
def test_a_task_is_given_back_only_then(reason: str) -> None:
    """Not one whose end is about to be told anyway, nor in the same era, nor after its deadline."""
    session = DONE
    if reason == "told":
        told = (TaskReport(T1.id, Rejected("no such dataset")),)
        session = replace(session, reports=told)
        request = sync_request(DONE, epoch=1, hello_hash="")
        answer = SyncAnswer(next_era(10), 1_000_000, 1, False, (T1,), (), 30)
        session, commands = step(session, on.Synced(request, answer), at_s=0.0)
        assert session.reports == told
    elif reason == "same era":
        session, commands = answered(session, T1, revision=15)
        assert session.reports == ()
    else:
        late = replace(T1, deadline_ms=1_000_000)
        session, commands = answered(replace(SYNCED, finished=()), late)
        assert session.reports == ()
    assert commands == ()


@pytest.mark.parametrize("state", list(InstallState))
def test_an_older_generation_is_installed_if_a_restored_control_plane_wants_it(state: InstallState) -> None:
    """It counts generations anew; what was being installed by its forgotten word is abandoned."""
    newer, older = deployment(5), deployment(4)
    session = replace(SYNCED, installs=(Install(newer, state),))
    after, commands = answered(session, wants=(older,))
    assert after.install(older.model) == Install(older)
    abandoned = (do.AbandonInstall(newer.model, 5),) if state in {InstallState.WANTED, InstallState.CHECKING} else ()
    assert commands == (*abandoned, do.FetchVersion(older))
    after, commands = step(after, on.DeploymentWanted(next_era(11), deployment(5)), at_s=0.0)
    assert do.FetchVersion(deployment(5)) in commands


def test_generations_of_a_model_that_a_restored_control_plane_did_not_roll_out_begin_anew() -> None:
    """What is installed stays; the first rollout of the new era is not mistaken for an old one."""
    session, commands = answered(replace(SYNCED, installs=(Install(deployment(5), InstallState.INSTALLED),)))
    assert commands == ()
    _, commands = step(session, on.DeploymentWanted(next_era(11), deployment(1)), at_s=0.0)
    assert commands == (do.FetchVersion(deployment(1)),)


def test_what_is_installed_and_wanted_is_left_alone() -> None:
    """A restore by itself installs nothing twice."""
    session = replace(SYNCED, installs=(Install(deployment(4), InstallState.INSTALLED),))
    after, commands = answered(session, wants=(deployment(4),))
    assert (after.installs, commands) == (session.installs, ())
