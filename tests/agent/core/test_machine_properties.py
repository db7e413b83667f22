"""The agent's machine under every order, copy, delay and crash that hypothesis can think of."""

from collections import Counter

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.session import Session
from headwater_wire.ids import TaskId
from headwater_wire.messages import Plan, Receipt, ReceiptKind
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.agent_bundle import task
from tests.fakes.agent_world import METRICS, Server, World, delta_of, deployment, succeed

T1 = task("t1")
ATTEMPT = st.integers(1, 3)
EVENT: st.SearchStrategy[on.Event] = st.one_of(
    st.just(on.Connected()),
    st.builds(on.Assigned, st.integers(1, 4), st.just(T1)),
    st.builds(on.Withdrawn, st.integers(1, 4), st.just(T1.id)),
    st.just(on.Fetched(T1.id)),
    st.just(on.FetchFailed(T1.id, "gone")),
    st.builds(on.Trained, st.just(T1.id), ATTEMPT, st.just(delta_of(T1.id)), st.just(METRICS)),
    st.builds(on.WorkerDied, st.just(T1.id), ATTEMPT, st.just("SIGKILL")),
    st.builds(on.TrainingBroke, st.just(T1.id), ATTEMPT, st.just("NaN")),
    st.just(on.Receipted(T1.id, Receipt(ReceiptKind.COMMITTED))),
    st.builds(on.DeploymentWanted, st.integers(1, 4), st.builds(deployment, st.integers(1, 3))),
    st.builds(on.Installed, st.just(deployment(1).model), st.integers(1, 3)),
)


@given(st.lists(EVENT, max_size=30))
@settings(max_examples=300)
def test_no_work_is_asked_for_twice(events: list[on.Event]) -> None:
    """However late a copy arrives, no command for a task, an attempt or a generation is issued twice."""
    world = World()
    for event in events:
        world.happen(event)
    counted = Counter(command for command in world.issued if not isinstance(command, do.Sync))
    assert not [command for command, times in counted.items() if times > 1]


@given(st.lists(EVENT, max_size=30), st.lists(EVENT, max_size=15))
@settings(max_examples=300)
def test_what_is_over_stays_over(before: list[on.Event], later: list[on.Event]) -> None:
    """Once a task is finished no event starts anything for it again, and its report is never doubled."""
    world = World()
    for event in before:
        world.happen(event)
    if not world.saved.finished:
        return
    reports, issued = world.saved.reports, len(world.issued)
    for event in later:
        world.happen(event)
    assert world.saved.reports == reports
    assert not [c for c in world.issued[issued:] if isinstance(c, do.Fetch | do.Train | do.Upload | do.Discard)]


def endings(draw: st.DrawFn, command: do.Command) -> on.Event | None:
    """Draw how a command ends."""
    good = succeed(command)
    match command:
        case do.Fetch(task):
            return draw(st.sampled_from([good, good, on.FetchFailed(task.id, "gone")]))
        case do.Train(task, attempt):
            bad = (
                on.WorkerDied(task.id, attempt, "SIGKILL"),
                on.TrainingBroke(task.id, attempt, "NaN"),
                on.TrainingRefused(task.id, attempt, "no such column"),
            )
            return draw(st.sampled_from([good, good, *bad]))
        case do.Install(wanted):
            return draw(st.sampled_from([good, on.InstallFailed(wanted.model, wanted.generation, "other outputs")]))
        case _:
            return good


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_task_ends_exactly_once(data: st.DataObject) -> None:
    """With lost, late and doubled messages, dying workers, lost spools and crashes, each task has one end."""
    world = World()
    world.boot()
    messages: list[on.Event] = []
    names = iter(f"t{n}" for n in range(100))
    told: list[TaskId] = []
    for _ in range(data.draw(st.integers(5, 60), label="steps")):
        what = data.draw(
            st.sampled_from(["assign", "withdraw", "deploy", "deliver", "deliver", "do", "do", "do", "lose", "crash"])
        )
        match what:
            case "assign":
                told.append(TaskId(next(names)))
                plan = Plan(train=data.draw(st.booleans(), label="trains"))
                messages.append(world.server.assign(task(told[-1], plan=plan)))
            case "withdraw" if told:
                messages.append(world.server.withdraw(data.draw(st.sampled_from(told))))
            case "deploy":
                messages.append(world.server.deploy(deployment(world.server.generation + 1)))
            case "deliver" if messages:
                index = data.draw(st.integers(0, len(messages) - 1))
                keep = data.draw(st.booleans(), label="a copy follows")
                world.happen(messages[index] if keep else messages.pop(index))
            case "do" if world.pending:
                index = data.draw(st.integers(0, len(world.pending) - 1))
                events = world.perform(index, lambda command: endings(data.draw, command))
                if data.draw(st.booleans(), label="the agent dies before it hears"):
                    for event in events:
                        world.happen(event)
                        if data.draw(st.booleans(), label="told twice"):
                            world.happen(event)
                else:
                    world.boot()
            case "lose" if world.spool:
                world.spool.discard(data.draw(st.sampled_from(sorted(world.spool))))
            case "crash":
                world.boot()
    world.happen(on.Rung())
    world.drain()
    check_all_is_over(world, told)


def check_all_is_over(world: World, told: list[TaskId]) -> None:
    """Each task has ended once, the box has nothing left, and nothing was tried too often."""
    assert {name: len(ends) for name, ends in world.server.ends.items()} == dict.fromkeys(told, 1)
    session = world.saved
    assert (session.held, session.reports, session.install_reports, world.spool) == ((), (), (), set())
    assert max(Counter(name for name, _ in world.started).values(), default=0) <= session.box.max_attempts + 1
    assert session.revision == world.server.revision
    for model, wanted in world.server.wanted.items():
        install = session.install(model)
        assert install and install.deployment == wanted
        assert [g for m, g, _ in world.server.installs if m == model].count(wanted.generation) >= 1


def script(crash_at: int, *, before_saving: bool) -> World:
    """Run two tasks and an install to their end, with one crash at a numbered step."""
    world = World()
    world.boot()
    server: Server = world.server
    events = [
        server.assign(task("t1")),
        server.assign(task("t2", plan=Plan(train=False))),
        server.deploy(deployment(1)),
    ]
    count = 0
    while events or world.pending:
        if events:
            event = events.pop(0)
            if count == crash_at and before_saving:
                events, event = [], on.TimePassed()  # what was on its way is lost with the process
                world.boot()
            world.happen(event)
        if count == crash_at and not before_saving:
            events = []
            world.boot()
        count += 1
        if world.pending:
            events += world.perform(0, succeed)
    return world


def test_a_crash_at_any_step_reaches_the_same_end() -> None:
    """Before an event is saved or after, before a command is done: the server ends up with the same."""
    undisturbed = script(-1, before_saving=False)
    wanted = dict(undisturbed.server.ends)
    assert wanted == {"t1": ["committed"], "t2": ["Evaluated"]}
    for before_saving in (True, False):
        for crash_at in range(30):
            world = script(crash_at, before_saving=before_saving)
            assert world.server.ends == wanted, (crash_at, before_saving)
            assert world.server.installs[:1] == [(deployment(1).model, 1, True)]
            check_all_is_over(world, [TaskId("t1"), TaskId("t2")])
            assert isinstance(world.saved, Session)
