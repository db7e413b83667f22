"""While a box's conditions are not met nothing trains; what was begun goes on later, and no kill is forgotten."""

from collections.abc import Sequence
from dataclasses import replace

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.course import CREDITS, credited
from headwater_agent.core.machine import resume, stand_down, step
from headwater_agent.core.session import Held, ServerTime, Session, Stage
from headwater_agent.edges import records
from headwater_wire.messages import Failed
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.agent_bundle import task
from tests.fakes.agent_world import BOX

T1 = task("t1")
LOST, MET = on.ConditionsChanged("it is on battery (20 %)"), on.ConditionsChanged("")
WAITING = Session(replace(BOX, waiting="it is hot"), time=ServerTime(1_000_000))
TRAINING = Session(BOX, time=ServerTime(1_000_000), held=(Held(T1, 1, Stage.TRAINING, attempts=1),))


def after(session: Session, *events: on.Event, at_s: float = 0.0) -> tuple[Session, tuple[do.Command, ...]]:
    """Let events happen; give what followed from the last one."""
    commands: tuple[do.Command, ...] = ()
    for event in events:
        session, commands = step(session, event, at_s=at_s)
    return session, commands


def test_a_task_waits_for_its_conditions() -> None:
    """It is accepted, and begins when they are met."""
    session, commands = after(WAITING, on.Assigned(1, T1))
    assert commands == () and session.held[0].stage is Stage.ACCEPTED
    assert after(session, MET)[1] == (do.Fetch(T1),)


def test_a_fetch_is_stopped_and_begun_again() -> None:
    """What has come so far is in the cache."""
    session, _ = after(Session(BOX, time=ServerTime(1_000_000)), on.Assigned(1, T1))
    session, commands = after(session, LOST)
    assert commands == (do.PauseFetching(T1.id),)
    assert after(session, on.Fetched(T1.id))[1] == ()
    assert after(session, MET)[1] == (do.Fetch(T1),)


def test_a_training_is_paused_and_goes_on() -> None:
    """Once, whatever else is lost meanwhile; a pause is no attempt, and its number is not used again."""
    session, commands = after(TRAINING, LOST)
    assert commands == (do.PauseTraining(T1.id),)
    assert after(session, on.ConditionsChanged("it is hot"))[1] == ()
    session, commands = after(session, on.Paused(T1.id, 1))
    assert commands == () and session.held[0].tries == 0
    session, commands = after(session, MET, on.Fetched(T1.id))
    assert commands == (do.Train(T1, 2),)
    assert after(session, on.Paused(T1.id, 1))[0] == session, "a copy"


def test_conditions_that_came_back_in_the_meantime_need_no_waiting() -> None:
    """The pause was asked for, so it comes; then the task goes on at once."""
    session, _ = after(TRAINING, LOST, MET)
    assert after(session, on.Paused(T1.id, 1))[1] == (do.Fetch(T1),)


def test_a_training_that_was_faster_than_the_pause_is_done() -> None:
    """Its answer counts."""
    session, _ = after(TRAINING, LOST)
    session, _ = after(session, on.TrainingBroke(T1.id, 1, "NaN"))
    assert session.reports[0].outcome == Failed("NaN")


def test_a_worker_that_dies_while_it_should_pause_is_not_started_again() -> None:
    """Its death counts; the next try waits."""
    session, commands = after(TRAINING, LOST, on.WorkerDied(T1.id, 1, "SIGKILL"))
    assert commands == () and (session.held[0].stage, session.held[0].tries) == (Stage.ACCEPTED, 1)
    assert after(session, MET, on.Fetched(T1.id))[1] == (do.Train(T1, 2),)


def test_the_deadline_ends_a_task_that_waits() -> None:
    """With its checkpoints, and with a report, since it had begun."""
    session, _ = after(TRAINING, LOST, on.Paused(T1.id, 1))
    late_s = (T1.deadline_ms - 1_000_000) / 1000 + 1
    session, commands = after(session, on.TimePassed(0.5), at_s=late_s)
    assert do.StopTraining(T1.id) in commands and not session.held
    assert session.reports[0].outcome == Failed("its deadline passed before it was trained")


def test_no_checkpoint_makes_a_boot_loop() -> None:
    """What has come further each time it killed the worker, by a checkpoint's word, is given up after twenty times."""
    session, deaths = TRAINING, 0
    while session.held:
        session = records.load(records.dump(session), session.box)[0]
        deaths += 1
        session, _ = after(session, on.WorkerDied(T1.id, session.held[0].attempts, "SIGKILL", reached=deaths))
    assert deaths == CREDITS + session.box.max_attempts and session.denied


def test_progress_is_no_failure() -> None:
    """A death after a later checkpoint than at the one before counts for nothing, nor do those before it."""
    session, _ = after(TRAINING, on.WorkerDied(T1.id, 1, "SIGKILL"), on.WorkerDied(T1.id, 2, "SIGKILL"))
    assert session.held[0].tries == 3
    for attempt in range(3, 20):
        session, commands = after(session, on.WorkerDied(T1.id, attempt, "SIGKILL", reached=attempt * 10))
        assert commands == (do.Train(T1, attempt + 1),) and session.held[0].tries == 1


def test_power_cuts_are_no_failures_while_each_life_comes_further() -> None:
    """A box on an ignition switch trains on; one that ends at the same step each time is denied, as without one."""
    session = TRAINING
    for step_reached in (100, 200, 300, 300, 300, 300):
        assert session.held
        session = records.load(records.dump(session), session.box)[0]
        session, commands = resume(credited(session, {T1.id: step_reached}), at_s=0.0)
        if session.held:
            session, commands = after(session, on.Fetched(T1.id))
    assert not session.held and session.denied and do.StopTraining(T1.id) in commands


@given(st.lists(st.sampled_from(["dies", "pauses", "stops", "reboots"]), max_size=12))
def test_three_kills_end_it_however_often_it_was_put_off(history: Sequence[str]) -> None:
    """A death of the worker and one of the box count; a pause and a stop in good order do not, nor do they reset it."""
    session, kills = TRAINING, 0
    for deed in history:
        attempt = session.held[0].attempts
        assert session.held[0].tries == kills + 1, "counted before it begins"
        kept = records.load(records.dump(session), session.box)[0]
        assert kept.held == session.held, "and on disk"
        match deed:
            case "dies":
                session, commands = after(session, on.WorkerDied(T1.id, attempt, "SIGKILL"))
            case "pauses":
                session, commands = after(session, LOST, on.Paused(T1.id, attempt), MET)
            case "stops":
                session, commands = resume(stand_down(session, at_s=0.0), at_s=0.0)
            case _:
                session, commands = resume(session, at_s=0.0)
        kills += deed in {"dies", "reboots"}
        if kills == BOX.max_attempts:
            assert not session.held and session.denied and do.Sync() in commands
            return
        if session.held[0].stage is Stage.FETCHING:
            session, commands = after(session, on.Fetched(T1.id))
        assert commands == (do.Train(T1, attempt + 1),)
