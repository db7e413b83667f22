"""What time does to an agent: deadlines, by the server's time and the monotonic clock, and when it asks by itself."""

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import resume, wake_at_s
from headwater_agent.core.session import Session
from headwater_wire.messages import Failed, Receipt, ReceiptKind

from tests.agent.core.playing import EMPTY, T1, after, synced
from tests.fakes.agent_bundle import task
from tests.fakes.agent_world import BOX, METRICS, delta_of


def test_a_task_waiting_past_its_deadline_is_dropped() -> None:
    """The server has timed it out long ago: nothing is to say."""
    session, _ = after(synced(T1, task("t2", deadline_ms=1_005_000)))
    assert wake_at_s(session) == pytest.approx(5.001)
    session, commands = after(on.TimePassed(0.5), session=session, at_s=5.001)
    assert [held.task.id for held in session.held] == ["t1"] and commands == () and not session.reports


def test_a_training_is_stopped_at_its_deadline() -> None:
    """What it would give came too late."""
    session, _ = after(synced(T1))
    session, _ = after(on.Fetched(T1.id), session=session)
    session, commands = after(on.TimePassed(0.5), session=session, at_s=1_000.0)
    assert commands == (do.StopTraining(T1.id), do.Sync())
    assert isinstance(session.reports[0].outcome, Failed)


def test_a_task_past_its_deadline_is_not_taken() -> None:
    """A copy from the other day starts nothing."""
    session, _ = after(synced())
    assert after(on.Assigned(2, task("t1", deadline_ms=999_999)), session=session)[1] == ()


def test_finished_tasks_are_remembered_for_a_day_beyond_their_deadline() -> None:
    """Then their late copies are too late by themselves, whatever was wrong with the time."""
    session, _ = after(synced(T1))
    session, _ = after(on.Fetched(T1.id), on.Trained(T1.id, 1, delta_of(T1.id), METRICS), session=session)
    session, _ = after(on.Receipted(T1.id, Receipt(ReceiptKind.COMMITTED)), session=session)
    assert after(on.Assigned(1, T1), session=session, at_s=900.0)[1] == ()
    session, _ = after(on.TimePassed(0.5), session=session, at_s=1_000.0 + 86_399)
    assert session.finished
    session, _ = after(on.TimePassed(0.5), session=session, at_s=1_000.0 + 86_400)
    assert not session.finished


def test_an_answer_from_before_a_deadline_that_comes_after_it_starts_nothing_again() -> None:
    """It sets the time back to when it was made, and still tells of the task: simulated history 237 had this."""
    session, _ = after(synced(T1))
    session, _ = after(on.Fetched(T1.id), session=session)
    session, _ = after(on.TimePassed(0.5), session=session, at_s=1_000.0)
    assert not session.held
    session, commands = after(synced(T1, session=session, time_ms=1_999_000), session=session, at_s=1_005.0)
    assert not session.held and not any(isinstance(command, do.Fetch) for command in commands)


def test_before_the_first_sync_an_assignment_is_asked_for() -> None:
    """Nobody can say yet whether it is a copy from long ago: the box's own clock is nobody's."""
    session, commands = after(on.Assigned(1, T1), session=Session(BOX), at_s=1e6)
    assert (session, commands) == (Session(BOX), (do.Sync(),))


def test_a_start_that_no_broker_answers_asks_by_itself() -> None:
    """Five seconds in, and then every five minutes or so: what was meant for it may have waited for long."""
    session, commands = resume(EMPTY, at_s=100.0)
    assert commands == () and wake_at_s(session) == 105.0
    assert after(on.Disconnected(0.9), session=session, at_s=101.0)[0] == session, "an attempt more changes nothing"
    session, commands = after(on.TimePassed(0.0), session=session, at_s=105.0)
    assert commands == (do.Sync(),) and wake_at_s(session) == 105.0 + 150.0
    session, commands = after(on.TimePassed(0.5), session=session, at_s=255.0)
    assert commands == (do.Sync(),) and wake_at_s(session) == 255.0 + 300.0


def test_a_box_that_has_a_broker_asks_only_when_it_is_rung() -> None:
    """Nothing polls: its heartbeats show what it has missed."""
    session, _ = resume(EMPTY, at_s=0.0)
    session, commands = after(on.Connected(), session=session, at_s=1.0)
    assert commands == (do.Sync(),) and wake_at_s(session) is None
    assert after(on.TimePassed(0.5), session=session, at_s=10_000.0) == (session, ())


def test_a_lost_broker_is_not_missed_by_all_boxes_at_the_same_moment() -> None:
    """Each box waits for minutes by a draw of its own, and not at all if the broker is back before."""
    connected, _ = after(on.Connected())
    waits = []
    for chance in (0.0, 0.5, 0.999):
        lost, commands = after(on.Disconnected(chance), session=connected, at_s=1_000.0)
        assert commands == ()
        waits.append((wake_at_s(lost) or 0.0) - 1_000.0)
        assert after(on.Connected(), session=lost)[0] == connected
    assert waits == pytest.approx([150.0, 300.0, 449.7])


def test_a_restart_goes_on_from_the_last_server_time() -> None:
    """The monotonic clock begins anew; the server's time does not go back."""
    session, _ = after(synced(T1), at_s=50_000.0)
    session, _ = resume(session, at_s=3.0)
    assert session.time.now_ms(4.0) == 1_001_000
