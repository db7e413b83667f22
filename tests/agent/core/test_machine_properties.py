"""The agent's machine under every order, copy, delay and crash that hypothesis can think of."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum, auto
from itertools import product
from random import Random

from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.session import DatasetFact, Session, Stage
from headwater_wire.ids import TaskId
from headwater_wire.messages import (
    DeploymentReport,
    Evaluated,
    Failed,
    Plan,
    Receipt,
    ReceiptKind,
    Rejected,
    SyncAnswer,
    SyncRequest,
    TaskReport,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fakes.agent_bundle import DATASET, DEVICE, task
from tests.fakes.agent_world import BOX, METRICS, Server, World, delta_of, deployment, succeed

T1 = task("t1")
ATTEMPT = st.integers(1, 3)
GENERATION = st.integers(1, 3)
MODEL = deployment(1).model


def install_report(generation: int, installed: bool) -> DeploymentReport:
    """Tell the end of an install as the machine does."""
    problem = "" if installed else "other outputs"
    return DeploymentReport(deployment(generation).rollout, MODEL, generation, installed, problem)


OUTCOMES = (Failed("gone"), Failed("NaN"), Failed("truncated"), Rejected("no such column"), Evaluated(METRICS))
REPORTS = tuple(TaskReport(T1.id, outcome) for outcome in OUTCOMES)
INSTALL_REPORTS = tuple(install_report(generation, installed) for generation in (1, 2) for installed in (True, False))
REQUESTS = tuple(
    SyncRequest(DEVICE, 1, revision, reports=reports, deployments=deployments)
    for revision, reports, deployments in product(range(5), ((), REPORTS), ((), INSTALL_REPORTS))
)
ANSWERS = tuple(
    SyncAnswer(revision, time_ms, 1, hello_wanted, tasks, wanted, 30)
    for revision, time_ms, hello_wanted, tasks, wanted in product(
        range(5),
        (1_000_000, 1_000_000, T1.deadline_ms),
        (True, False),
        ((), (T1,)),
        ((), (deployment(1),), (deployment(3),)),
    )
)
CLOSED = on.Synced(SyncRequest(DEVICE, 1, 4), SyncAnswer(4, 1_000_000, 1, False, (), (), 30))
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
    st.builds(on.DeploymentWanted, st.integers(1, 4), st.builds(deployment, GENERATION)),
    st.builds(on.VersionFetched, st.just(MODEL), GENERATION),
    st.builds(on.Installed, st.just(MODEL), GENERATION),
    st.just(on.Rung()),
    st.builds(on.Synced, st.sampled_from(REQUESTS), st.sampled_from(ANSWERS)),
    st.builds(on.Surveyed, st.sampled_from((BOX.datasets, (), (DatasetFact(DATASET, "f2", "it is empty"),)))),
    st.builds(on.Scored, st.just(T1.id), ATTEMPT, st.just(METRICS)),
    st.builds(on.TrainingRefused, st.just(T1.id), ATTEMPT, st.just("no such column")),
    st.builds(on.Paused, st.just(T1.id), ATTEMPT),
    st.builds(on.ConditionsChanged, st.sampled_from(("", "it is on battery"))),
    st.builds(on.SpoolLost, st.just(T1.id), ATTEMPT, st.just("truncated")),
    st.builds(on.InstallFailed, st.just(MODEL), GENERATION, st.just("other outputs")),
)
OF_AN_ATTEMPT = (
    on.Trained,
    on.Scored,
    on.TrainingRefused,
    on.TrainingBroke,
    on.Paused,
    on.WorkerDied,
    on.SpoolLost,
)


class End(Enum):
    """How what was asked for last comes to its end."""

    WELL = auto()
    BADLY = auto()


# Something new, an end, or a copy of what happened so many events before. Of a thousand lists of new events alone ten
# trained, and none uploaded.
HISTORY = st.lists(
    st.sampled_from((EVENT, EVENT, st.sampled_from((End.WELL, End.WELL, End.BADLY)), st.integers(0, 9))).flatmap(
        lambda drawn: drawn
    ),
    min_size=12,
    max_size=30,
)


def play(world: World, history: list[on.Event | End | int]) -> Iterator[tuple[on.Event, tuple[do.Command, ...]]]:
    """Let things happen, and tell which, and what followed from each; the server's clock never goes back."""
    past: list[on.Event] = [on.Connected()]
    for drawn in history:
        match drawn:
            case int(before):
                event = past[-1 - before % len(past)]
            case End():
                event = ended(world, drawn)
            case _:
                event = drawn
        if isinstance(event, on.Synced):
            world.server.now_ms = max(world.server.now_ms, event.answer.server_time_ms)
            event = replace(event, answer=replace(event.answer, server_time_ms=world.server.now_ms))
        issued = len(world.issued)
        past.append(event)
        world.happen(event)
        yield event, tuple(world.issued[issued:])


def ended(world: World, how: End) -> on.Event:
    """End what was asked for last; a ring, if nothing was."""
    for command in reversed(world.issued):
        match command:
            case do.Train(task, attempt) if how is End.BADLY:
                return on.WorkerDied(task.id, attempt, "SIGKILL")
            case do.Upload(task, attempt) if how is End.BADLY:
                return on.SpoolLost(task.id, attempt, "truncated")
            case do.Upload(task):
                return on.Receipted(task.id, Receipt(ReceiptKind.COMMITTED))
            case do.FetchVersion(wanted) | do.Install(wanted) if how is End.BADLY:
                return on.InstallFailed(wanted.model, wanted.generation, "other outputs")
            case do.Fetch() | do.Train() | do.FetchVersion() | do.Install():
                return succeed(command) or on.Rung()
    return on.Rung()


def named(session: Session, command: do.Command) -> object:
    """Name what a command asks for: what is fetched once more after an attempt that was lost is another work."""
    held = session.holding(command.task.id) if isinstance(command, do.Fetch) else None
    return command, held.attempts if held else 0


@given(HISTORY)
@example([on.Assigned(4, T1), CLOSED, on.Assigned(4, T1)])
@example([CLOSED, on.Assigned(5, T1), on.ConditionsChanged("it is on battery"), on.ConditionsChanged("")])
@settings(max_examples=200)
def test_no_work_is_asked_for_twice(history: list[on.Event | End | int]) -> None:
    """However late a copy arrives, no command for a task, an attempt or a generation is issued twice.

    But what was put off while it was being fetched is fetched anew, and put off anew.
    """
    world = World()
    counted = Counter[object]()
    put_off = 0
    for _, commands in play(world, history):
        for command in commands:
            if not isinstance(command, do.Sync | do.Announce):
                fetching = isinstance(command, do.Fetch | do.PauseFetching)
                counted[named(world.saved, command), put_off if fetching else 0] += 1
            put_off += isinstance(command, do.PauseFetching)
    assert not [command for command, times in counted.items() if times > 1]


@given(HISTORY, HISTORY)
@settings(max_examples=100)  # of twice as many events
def test_what_is_over_stays_over(before: list[on.Event | End | int], later: list[on.Event | End | int]) -> None:
    """Once a task is finished no event starts anything for it again, and its report is told until it has arrived."""
    world = World()
    for _ in play(world, before):
        pass
    if not world.saved.finished:
        return
    reports = world.saved.reports
    for _, commands in play(world, later):
        assert world.saved.reports in (reports, ())
        reports = world.saved.reports
        assert not [c for c in commands if isinstance(c, do.Fetch | do.Train | do.Upload | do.Discard)]


@given(HISTORY)
@settings(max_examples=200)
def test_what_ended_is_reported_until_the_control_plane_has_it(history: list[on.Event | End | int]) -> None:
    """A report is made once, and goes with the answer to a Sync that carried it, and with nothing else."""
    world = World()
    made = Counter[object]()
    before: frozenset[object] = frozenset()
    for event, _ in play(world, history):
        reports = (*world.saved.reports, *world.saved.install_reports)
        made.update(frozenset(reports) - before)
        arrived = {*event.request.reports, *event.request.deployments} if isinstance(event, on.Synced) else set()
        assert before - frozenset(reports) == before & arrived
        assert len(reports) == len(set(reports))
        before = frozenset(reports)
    assert not [report for report, times in made.items() if times > 1]


@given(HISTORY)
@example([on.Assigned(4, T1), End.WELL, End.WELL, End.BADLY, End.WELL, End.WELL, on.SpoolLost(T1.id, 1, "truncated")])
@settings(max_examples=200)
def test_what_is_late_or_repeated_changes_nothing(history: list[on.Event | End | int]) -> None:
    """Neither what is said of another stage or attempt than the present one, nor a copy right behind what it copies."""
    world = World()
    before = world.saved
    for event, commands in play(world, history):
        if isinstance(event, OF_AN_ATTEMPT):
            held = before.holding(event.task)
            stage = Stage.SPOOLED if isinstance(event, on.SpoolLost) else Stage.TRAINING
            late = held is None or (held.stage, held.attempts) != (stage, event.attempt)
            assert not late or (world.saved, commands) == (before, ())
        before, issued = world.saved, len(world.issued)
        world.happen(event)
        assert world.saved == before
        assert {type(command) for command in world.issued[issued:]} <= {do.Sync, do.Announce}


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
        case do.FetchVersion(wanted) | do.Install(wanted):
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
        deeds = [self.assign, self.withdraw, self.deploy, self.lose, self.crash, self.survey, self.turn]
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

    def survey(self) -> None:
        self.world.happen(on.Surveyed((DatasetFact(DATASET, self.chance.choice(("f1", "f2"))),)))

    def turn(self) -> None:
        self.world.happen(on.ConditionsChanged(self.chance.choice(("", "it is on battery", "it is hot"))))

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
