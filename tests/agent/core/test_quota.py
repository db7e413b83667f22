"""The spool's quota: what is dropped, in which order, told to whom; and what is not begun because of it."""

from dataclasses import replace

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import resume, stand_down, step
from headwater_agent.core.session import DAY_MS, Dropped, Quota, ServerTime, Session, Stage
from headwater_wire.ids import TaskId
from headwater_wire.messages import Failed, Rejected, SyncAnswer, SyncRequest, Task
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.agent_bundle import task
from tests.fakes.agent_world import BOX, METRICS, delta_of

START = ServerTime(20 * DAY_MS)
NONE: frozenset[TaskId] = frozenset()


def box(quota: Quota) -> Session:
    """Make a box of this quota, whose server's time is known."""
    return Session(replace(BOX, quota=quota), time=START)


def sized(name: str, size: int) -> Task:
    """Make a task for the next year, with a base, and so a delta, of this size."""
    made = task(name, deadline_ms=START.server_ms + 365 * DAY_MS)
    return replace(made, base=replace(made.base, size=size))


def spooled(
    session: Session, name: str, size: int, at_s: float, uploading: frozenset[TaskId] = NONE
) -> tuple[Session, tuple[do.Command, ...]]:
    """Accept a task and train it while nobody takes its delta; give what was asked for at its end."""
    made = sized(name, size)
    for event in (on.Assigned(session.revision + 1, made), on.Fetched(made.id)):
        session, _ = step(session, event, at_s=at_s, uploading=uploading)
    delta = replace(delta_of(made.id), size=size)
    return step(session, on.Trained(made.id, 1, delta, METRICS), at_s=at_s, uploading=uploading)


def names(session: Session) -> list[str]:
    """Name what is spooled."""
    return [held.task.id for held in session.held if held.stage is Stage.SPOOLED]


def test_what_is_too_much_is_dropped_the_oldest_first_and_told() -> None:
    """Counted, by a report that the next Sync carries, and the file is deleted; the newest stays."""
    session = box(Quota(max_bytes=25))
    session, _ = spooled(session, "t1", 10, at_s=1.0)
    session, _ = spooled(session, "t2", 10, at_s=2.0)
    assert names(session) == ["t1", "t2"]
    session, commands = spooled(session, "t3", 10, at_s=3.0)
    assert names(session) == ["t2", "t3"]
    assert commands[1:] == (do.Drop(TaskId("t1")), do.Sync())
    (report,) = session.reports
    assert report.task == "t1"
    assert report.outcome == Failed(
        "its delta was dropped: the spool had 30 bytes, and spool.max_bytes is 25: the oldest goes first"
    )
    assert session.dropped == Dropped(1, 10)
    again, commands = step(session, on.Assigned(1, sized("t1", 10)), at_s=4.0)
    assert (again, commands) == (session, ()), "it is not begun anew"


def test_what_is_being_uploaded_is_never_dropped() -> None:
    """The next oldest goes instead; what is too old by itself goes once it is sent no longer."""
    session, _ = spooled(box(Quota(max_bytes=25, max_days=2)), "t1", 10, at_s=1.0)
    session, _ = spooled(session, "t2", 10, at_s=2.0)
    session, _ = spooled(session, "t3", 10, at_s=3.0, uploading=frozenset({TaskId("t1")}))
    assert names(session) == ["t1", "t3"]
    late_s = 3 * DAY_MS / 1000
    during, _ = step(session, on.TimePassed(0.5), at_s=late_s, uploading=frozenset({TaskId("t1"), TaskId("t3")}))
    assert names(during) == ["t1", "t3"]
    after, commands = step(session, on.TimePassed(0.5), at_s=late_s)
    assert names(after) == []
    assert [command for command in commands if isinstance(command, do.Drop)] == [
        do.Drop(TaskId("t1")),
        do.Drop(TaskId("t3")),
    ]
    assert "it waited 3.0 days for its upload, and spool.max_days is 2" in str(after.reports[-1].outcome)


def test_age_is_known_across_a_restart_as_soon_as_the_server_tells_the_time() -> None:
    """While nobody tells it the delta stays: a box without a clock can't know how long it was off."""
    session, _ = spooled(box(Quota(max_days=2)), "t1", 10, at_s=1.0)
    session, commands = resume(session, at_s=0.0)
    assert names(session) == ["t1"] and isinstance(commands[0], do.Upload)
    request = SyncRequest(BOX.device, 1, session.revision)
    answer = SyncAnswer(session.revision, START.server_ms + 3 * DAY_MS, 1, False, (), (), 30)
    session, commands = step(session, on.Synced(request, answer), at_s=1.0)
    assert names(session) == [] and do.Drop(TaskId("t1")) in commands


def test_a_task_whose_delta_has_no_room_is_rejected_before_anything_is_fetched() -> None:
    """Known from the base version's size; one that only scores needs no room."""
    session, commands = step(box(Quota(max_bytes=99)), on.Assigned(1, sized("t1", 100)), at_s=0.0)
    assert commands == (do.Sync(),) and not session.held
    (report,) = session.reports
    assert isinstance(report.outcome, Rejected)
    assert "has 100 bytes, and spool.max_bytes in the agent's configuration is 99" in report.outcome.reason
    scoring = replace(sized("t2", 100), plan=replace(task("t2").plan, train=False))
    _, commands = step(session, on.Assigned(2, scoring), at_s=0.0)
    assert commands == (do.Fetch(scoring),)


def test_a_restart_with_a_smaller_quota_rejects_what_waits() -> None:
    """The owner's newest word counts."""
    session, _ = step(box(Quota()), on.Assigned(1, sized("t1", 100)), at_s=0.0)
    session, commands = resume(replace(session, box=replace(session.box, quota=Quota(max_bytes=99))), at_s=0.0)
    assert not session.held and commands == (do.Sync(),)


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=12), st.integers(1, 60))
def test_the_spool_never_exceeds_its_quota_but_for_what_is_being_uploaded(
    deltas: list[tuple[int, bool]], most: int
) -> None:
    """And no task is lost: each is spooled, reported, or was never accepted."""
    session, uploading = box(Quota(max_bytes=most)), NONE
    for number, (size, sent) in enumerate(deltas):
        name = TaskId(f"t{number}")
        if sent and size <= most:
            uploading |= {name}
        session, _ = spooled(session, name, size, at_s=float(number), uploading=uploading)
    idle = [held for held in session.held if held.task.id not in uploading]
    busy = sum(held.delta.size for held in session.held if held.delta and held.task.id in uploading)
    assert sum(held.delta.size for held in idle if held.delta) <= max(0, most - busy)
    known = {held.task.id for held in session.held} | {report.task for report in session.reports}
    assert known == {f"t{number}" for number in range(len(deltas))}
    assert uploading <= {held.task.id for held in session.held}


def test_a_delta_grows_old_though_its_box_is_restarted_every_day() -> None:
    """Offline nobody tells the time: what was counted until a stop, or an hour before, is not forgotten."""
    session, _ = spooled(box(Quota(max_days=2)), "t1", 10, at_s=0.0)
    days = 0
    while names(session):
        days += 1
        session, _ = resume(replace(session, time=ServerTime(session.time.server_ms)), at_s=10.0)
        if days % 2:
            session = stand_down(session, at_s=10.0 + DAY_MS / 1000)
        else:  # the power is cut
            session, _ = step(session, on.Disconnected(0.5), at_s=20.0)
            session, _ = step(session, on.TimePassed(0.5), at_s=10.0 + DAY_MS / 1000)
    assert days == 4, "after three whole days it is older than two, and the fourth begins"
    assert isinstance(session.reports[0].outcome, Failed) and "spool.max_days" in session.reports[0].outcome.reason
