"""The agent's machine under every order, copy, delay and crash that hypothesis can think of."""

from collections import Counter
from random import Random

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
    st.builds(on.Disconnected, st.sampled_from((0.0, 0.9))),
    st.builds(on.TimePassed, st.sampled_from((0.0, 0.9))),
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


def endings(chance: Random, command: do.Command) -> on.Event | None:
    """Draw how a command ends."""
    good = succeed(command)
    if chance.random() < 0.6:
        return good
    match command:
        case do.Fetch(task):
            return on.FetchFailed(task.id, "gone")
        case do.Train(task, attempt):
            return chance.choice(
                (
                    on.WorkerDied(task.id, attempt, "SIGKILL"),
                    on.WorkerDied(task.id, attempt, "SIGKILL"),
                    on.TrainingBroke(task.id, attempt, "NaN"),
                    on.TrainingRefused(task.id, attempt, "no such column"),
                )
            )
        case do.Install(wanted):
            return on.InstallFailed(wanted.model, wanted.generation, "other outputs")
        case _:
            return good


class Chaos:
    """A world in which anything may happen next, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.world = World()
        self.messages: list[on.Event] = []  # on their way, in any order, some for ever
        self.told: list[TaskId] = []

    def run(self, steps: int) -> None:
        """Let so many things happen, then nothing bad any more."""
        self.world.boot()
        deeds = [self.assign, self.withdraw, self.deploy, self.lose, self.crash]
        deeds += 4 * [self.deliver, self.answer] + 10 * [self.work]
        for _ in range(steps):
            self.chance.choice(deeds)()
        self.world.drain()

    def assign(self) -> None:
        if len(self.told) < 6:
            self.told.append(TaskId(f"t{len(self.told)}"))
            plan = Plan(train=self.chance.random() < 0.8)
            self.messages.append(self.world.server.assign(task(self.told[-1], plan=plan)))

    def withdraw(self) -> None:
        if self.told and self.chance.random() < 0.3:
            self.messages.append(self.world.server.withdraw(self.chance.choice(self.told)))

    def deploy(self) -> None:
        self.messages.append(self.world.server.deploy(deployment(self.world.server.generation + 1)))

    def deliver(self) -> None:
        if self.messages:
            message = self.messages.pop(self.chance.randrange(len(self.messages)))
            if self.chance.random() < 0.3:
                self.messages.append(message)  # a copy follows
            if self.chance.random() < 0.8:
                self.world.happen(message)

    def answer(self) -> None:
        if self.world.answers:
            self.world.happen(self.world.answers.pop())

    def work(self) -> None:
        world = self.world
        if not world.pending:
            return
        events = world.perform(self.chance.randrange(len(world.pending)), lambda c: endings(self.chance, c))
        for event in events:
            if self.chance.random() < 0.1:
                self.world.boot()  # before the machine heard of it
                return
            world.happen(event)
            if self.chance.random() < 0.2:
                world.happen(event)

    def lose(self) -> None:
        if self.world.spool and self.chance.random() < 0.3:
            self.world.spool.discard(self.chance.choice(sorted(self.world.spool)))

    def crash(self) -> None:
        if self.chance.random() < 0.5:
            self.world.boot()


@given(st.integers(0, 2**32))
@settings(max_examples=400, deadline=None)
def test_every_task_ends_exactly_once(seed: int) -> None:
    """With lost, late and doubled messages, dying workers, lost spools and crashes, each task has one end."""
    chaos = Chaos(seed)
    chaos.run(150)
    check_all_is_over(chaos.world, chaos.told)


def check_all_is_over(world: World, told: list[TaskId]) -> None:
    """Each task has ended once, the box has nothing left, and nothing was tried too often."""
    assert {name: len(ends) for name, ends in world.server.ends.items()} == dict.fromkeys(told, 1)
    session = world.saved
    assert (session.held, session.reports, session.install_reports, world.spool) == ((), (), (), set())
    assert max(Counter(name for name, _ in world.started).values(), default=0) <= session.box.max_attempts
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
    while events or world.pending or world.answers:
        if events:
            event = events.pop(0)
            if count != crash_at or not before_saving:
                world.happen(event)
        if count == crash_at:
            events = []  # what was on its way is lost with the process
            world.boot()
        count += 1
        if world.answers:
            events.append(world.answers.pop())
        elif world.pending:
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
