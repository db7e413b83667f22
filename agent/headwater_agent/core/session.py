"""What an agent remembers: the tasks it holds, what it has to report, what it has installed."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from headwater_wire.ids import DeviceId, ModelName, TaskId
from headwater_wire.messages import Blob, Deployment, DeploymentReport, Metrics, Task, TaskReport

from headwater_agent.core.policy import Policy

DAY_MS = 24 * 3600 * 1000
DEFAULT_BYTES = 2_000_000_000  # of the spool
DEFAULT_DAYS = 30.0


class Stage(StrEnum):
    """ACCEPTED → FETCHING → TRAINING → SPOOLED; what follows is `Finished`."""

    ACCEPTED = "accepted"
    FETCHING = "fetching"
    TRAINING = "training"
    SPOOLED = "spooled"


@dataclass(frozen=True, slots=True)
class Held:
    """A task this box has not finished with. `number` is its place in the order of acceptance."""

    task: Task
    number: int
    stage: Stage = Stage.ACCEPTED
    attempts: int = 0  # trainings begun, counted before each begins
    delta: Blob | None = None  # from SPOOLED on
    metrics: Metrics | None = None
    pauses: int = 0  # attempts that count no more: ended in good order, to go on later, or before it came further
    reached: int = 0  # the step of the newest checkpoint when it was cut short last without being asked to stop
    credits: int = 0  # how often it was cut short and had come further: that counts for no failure so often only
    spooled_ms: int = 0  # server time, since when the delta has been there; 0: an older release did not say

    @property
    def tries(self) -> int:
        """Count the trainings, since it came further, that were not put off: each has ended the worker, or may yet."""
        return self.attempts - self.pauses


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that must not start again, remembered until its deadline."""

    task: TaskId
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Denied:
    """A bundle and dataset that together kept killing the worker: not tried again before `until_ms`."""

    key: str
    reason: str
    until_ms: int | None  # None: for a day from the next Sync on, as nobody knew the time

    def holds(self, now_ms: int) -> bool:
        """Say whether it is still so."""
        return self.until_ms is None or now_ms < self.until_ms


class InstallState(StrEnum):
    """WANTED → CHECKING → INSTALLED | FAILED."""

    WANTED = "wanted"
    CHECKING = "checking"
    INSTALLED = "installed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Install:
    """The newest deployment of one model that reached this box."""

    deployment: Deployment
    state: InstallState = InstallState.WANTED
    attempts: int = 0  # lives of the agent in which its check was begun, counted before each begins

    @property
    def open(self) -> bool:
        """Say whether it has no end yet."""
        return self.state in {InstallState.WANTED, InstallState.CHECKING}

    @property
    def model(self) -> ModelName:
        """Name the model."""
        return self.deployment.model


@dataclass(frozen=True, slots=True)
class DatasetFact:
    """A dataset the box's owner declares: its fingerprint changes with its files and its declaration."""

    name: str
    fingerprint: str = ""
    problem: str = ""  # empty, or why it can't be used
    examples: int | None = None  # None: not counted yet


@dataclass(frozen=True, slots=True)
class Quota:
    """[spool]: what deltas may take that wait for their upload, and for how long they may."""

    max_bytes: int = DEFAULT_BYTES
    max_days: float = DEFAULT_DAYS

    @property
    def max_age_ms(self) -> float:
        """Tell the age in milliseconds."""
        return self.max_days * DAY_MS


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the spool's quota has cost so far."""

    deltas: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Box:
    """What the machine must know of the box; never persisted, since it is looked up at each start."""

    device: DeviceId
    datasets: tuple[DatasetFact, ...] = ()
    max_attempts: int = 3
    policy: Policy = field(default_factory=Policy)
    refusal: str = ""  # empty, or why it takes no task at all
    quota: Quota = field(default_factory=Quota)
    min_new_examples: int = 0  # since the last training on a dataset, for another one to be worth it
    waiting: str = ""  # empty, or why it trains nothing now: the conditions that its owner sets


@dataclass(frozen=True, slots=True)
class Seen:
    """How many examples a dataset had when a delta was made of it last."""

    dataset: str
    examples: int


@dataclass(frozen=True, slots=True)
class Sent:
    """How many bytes of deltas were made to be sent on the newest day that the server's time has told."""

    day: int = 0
    size: int = 0

    def on(self, now_ms: int) -> int:
        """Tell what counts at a time; a day that comes again goes on counting."""
        return self.size if now_ms // DAY_MS <= self.day else 0

    def plus(self, size: int, now_ms: int) -> "Sent":
        """Count a delta."""
        return Sent(max(self.day, now_ms // DAY_MS), self.on(now_ms) + size)


@dataclass(frozen=True, slots=True)
class ServerTime:
    """The server's time as the last Sync told it, carried on by the monotonic clock."""

    server_ms: int = 0
    at_s: float = 0.0  # of the monotonic clock, when it was so
    sure: bool = True  # not so from a start until its first Sync
    answered_s: float | None = None  # of the monotonic clock: the last Sync since the start

    def now_ms(self, at_s: float) -> int:
        """Tell the server's time at a monotonic instant: 0 if it was never told, and after a restart a lower bound."""
        if not self.server_ms:
            return 0
        return self.server_ms + int((at_s - self.at_s) * 1000)

    def carried(self, at_s: float) -> "ServerTime":
        """Say the same as of now: what is saved so is not forgotten by a box that is offline for long."""
        return replace(self, server_ms=self.now_ms(at_s), at_s=at_s) if self.server_ms else self


@dataclass(frozen=True, slots=True)
class Session:
    """Everything the machine decides upon."""

    box: Box
    revision: int = 0  # every change up to this one is held
    seen: int = 0  # the newest change applied: beyond `revision` while one in between is missing
    time: ServerTime = field(default_factory=ServerTime)
    heartbeat_s: int = 30
    sync_at_s: float | None = None  # while no broker reaches this box: the monotonic instant to ask unasked; not saved
    held: tuple[Held, ...] = ()
    finished: tuple[Finished, ...] = ()
    reports: tuple[TaskReport, ...] = ()
    installs: tuple[Install, ...] = ()
    install_reports: tuple[DeploymentReport, ...] = ()
    denied: tuple[Denied, ...] = ()
    sent: Sent = field(default_factory=Sent)
    dropped: Dropped = field(default_factory=Dropped)
    trained: tuple[Seen, ...] = ()  # while the box wants new examples

    def holding(self, task: TaskId) -> Held | None:
        """Find a held task."""
        return next((held for held in self.held if held.task.id == task), None)

    def dataset(self, name: str) -> DatasetFact | None:
        """Find a dataset of this box."""
        return next((fact for fact in self.box.datasets if fact.name == name), None)

    def install(self, model: ModelName) -> Install | None:
        """Find what is known of a model's installation."""
        return next((install for install in self.installs if install.model == model), None)
