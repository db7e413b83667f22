"""What the agent needs of the world, as narrow interfaces. Edges implement them; tests bring fakes."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headwater_wire.ids import Digest, ModelName, TaskId, VersionId
from headwater_wire.messages import Blob, DatasetCard, Hello, Offer, Progress, Receipt, SyncAnswer, SyncRequest

from headwater_agent.core.session import Box, Session
from headwater_agent.training.protocol import Job, Reply, Stepped


@dataclass(frozen=True, slots=True)
class Survey:
    """A dataset as it was inspected when it had this fingerprint.

    With `tries` the inspection was begun so often and never ended; its card says what that would be taken for.
    """

    fingerprint: str
    card: DatasetCard
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a heartbeat tells, and how often it should."""

    revision: int
    progress: tuple[Progress, ...]
    heartbeat_s: int


class Journal(Protocol):
    """The agent's memory: durable on return, each record checked by a CRC."""

    async def load(self, box: Box) -> Session:
        """Give what was saved last; what is damaged is left out, for Sync to heal."""

    async def save(self, session: Session) -> None:
        """Remember, writing only what has changed."""

    async def next_epoch(self) -> int:
        """Count one more connection, before it is made."""

    async def jump_epoch(self, past: int) -> None:
        """Go on counting beyond `past`."""

    async def surveys(self) -> tuple[Survey, ...]:
        """Give what was found in the datasets when they were inspected last."""

    async def save_surveys(self, surveys: Collection[Survey]) -> None:
        """Remember these, and no others."""

    async def answers(self) -> bool:
        """Say yes once what was being written is written: never, while the disk hangs."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Say what was found damaged, and what was done about it."""


async def freely() -> None:
    """Let an upload go on, whatever its size."""


class Uplink(Protocol):
    """The control plane's gateway. Whatever may work later raises `Unavailable`."""

    async def sync(self, request: SyncRequest) -> SyncAnswer:
        """Tell what is held, and get what should be."""

    def fetch(self, digest: Digest, offset: int) -> AsyncGenerator[bytes, None]:
        """Give a blob's bytes from `offset` on; raise `Gone` if the control plane has no such blob."""

    async def upload(
        self, offer: Offer, path: Path, sent: Callable[[int], None], wanted: Callable[[], Awaitable[None]] = freely
    ) -> Receipt:
        """Offer a delta and send what of it is missing; `sent` hears how far it is, in bytes.

        `wanted` is awaited once the control plane wants bytes, before the first goes; what it raises ends the upload.
        """


class Cache(Protocol):
    """Blobs by digest, on this box's disk."""

    async def get(self, blob: Blob, *, durably: bool) -> Path:
        """Fetch what is missing of a blob, check its SHA-256, give its place; raise `Gone` if another keeps coming."""

    async def prune(self, keep: Collection[Digest]) -> None:
        """Delete all others, but for unfinished ones that a fetch is working on."""


class Spool(Protocol):
    """Deltas between their training and their receipt."""

    def work_path(self, task: TaskId, attempt: int, *, guarded: bool = False) -> Path:
        """Name a place on the spool's file system for an unfinished delta; `guarded`: where none that trains writes."""

    async def adopt(self, task: TaskId, source: Path, delta: Blob) -> None:
        """Take a finished delta over, durably, instead of checkpoints; raise `Damaged` if it is not what was said."""

    async def open(self, task: TaskId, delta: Blob) -> Path:
        """Give a delta's place; unless it was adopted just now its SHA-256 is checked: raise `Damaged`."""

    async def discard(self, task: TaskId) -> None:
        """Delete a delta and checkpoints, as far as they are there."""

    async def free_bytes(self) -> int:
        """Tell how much the disk has room for."""

    def checkpoints(self, task: TaskId) -> Path:
        """Name a task's own folder on the spool's file system: it lasts until the task is adopted or discarded."""

    async def reached(self, task: TaskId) -> int:
        """Tell the step of the newest checkpoint in that folder; 0 without one."""

    async def sweep(self, keep: Collection[TaskId], begun: Collection[TaskId] = ()) -> tuple[str, ...]:
        """Delete what no record tells of, and unfinished work but for the checkpoints of what has begun; name it."""


class Worker(Protocol):
    """The child process in which everything heavy happens."""

    async def run(self, job: Job, on_step: Callable[[Stepped], None]) -> Reply:
        """Do one job; cancelling kills the child. Raise `Died` if it ends before it answers."""

    def interrupt(self) -> None:
        """Ask a training that runs, or waits to, to stop at a checkpoint: its reply is then `Stopped`. Else nothing."""


class Shelf(Protocol):
    """The installed versions of each model, where the box's applications read them."""

    async def find(self, model: ModelName, version: VersionId, onnx: Blob) -> Path | None:
        """Give the place of a version's model.onnx if it is here, whole."""

    async def put(self, model: ModelName, version: VersionId, onnx: Path) -> Path:
        """Take a checked model.onnx over, durably."""

    async def activate(self, model: ModelName, version: VersionId) -> None:
        """Point `current` at a version, at once and durably; keep the one before it, remove older ones."""


class Allowance(Protocol):
    """How much may go up on a day."""

    def wait_s(self, size: int) -> float:
        """Say for how many seconds an upload is put off, 0 if it may begin; nothing is counted."""

    def take(self, size: int) -> float:
        """Count an upload that is about to begin; or say for how many seconds it is put off, and count nothing."""


class Downlink(Protocol):
    """The MQTT connection, as far as commands need it."""

    async def announce(self) -> None:
        """Publish the registration again, if connected."""

    async def renew(self) -> None:
        """Connect anew, with the next epoch."""

    def pulse(self) -> None:
        """Send a heartbeat soon, since a phase has changed."""

    @property
    def epoch(self) -> int:
        """Tell the epoch of the present, or next, connection."""

    @property
    def hello_hash(self) -> str:
        """Tell the SHA-256 of the registration published last."""

    @property
    def unknown(self) -> Hello | None:
        """Tell that registration itself, unless the control plane is known to have it."""

    def known(self, hello_hash: str, *, is_known: bool) -> None:
        """Hear whether the control plane has the registration of this hash."""


class Registrar(Protocol):
    """What this box tells of itself."""

    async def hello(self, epoch: int) -> Hello:
        """Look, and tell."""


class AgentError(Exception):
    """Expected trouble: it becomes an event, or a pause."""


class Unavailable(AgentError):
    """The control plane can't be reached, is busy, or answered nonsense: try again."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class Gone(AgentError):
    """The control plane does not have what it told us to fetch."""


class Damaged(AgentError):
    """Bytes on this box's disk that are missing, or not what was written."""


class Died(AgentError):
    """The child ended before it answered; `code` is its exit code, or the negative number of the signal it died of."""

    def __init__(self, how: str, code: int | None = None) -> None:
        super().__init__(how)
        self.code = code
