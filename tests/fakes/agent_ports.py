"""Fakes of the agent's ports, in memory, for tests of what orders them."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from headwater_agent.core.session import Box, Session
from headwater_agent.edges import records
from headwater_agent.edges.cache import WRONG_AT_MOST
from headwater_agent.ports import Damaged, Died, Gone, Survey, Unavailable
from headwater_agent.training.heads import newest_step
from headwater_agent.training.protocol import Job, Protect, Reply, Stepped, Stopped, Train
from headwater_wire import convert, digests
from headwater_wire.ids import Digest, ModelName, TaskId, VersionId
from headwater_wire.messages import Blob, Hello, Inventory

from tests.fakes.gate import Gate


class MemorySpool:
    """A spool without durability: a dict of paths."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self.held: dict[TaskId, Path] = {}
        self.work: list[Path] = []
        self.free = 10**12

    def work_path(self, task: TaskId, attempt: int, *, guarded: bool = False) -> Path:
        """Name a place."""
        folder = self._folder / ("guarded" if guarded else "work")
        folder.mkdir(exist_ok=True)
        self.work.append(folder / f"{task}.{attempt}.{next(self._numbers)}")
        return self.work[-1]

    async def adopt(self, task: TaskId, source: Path, delta: Blob) -> None:
        """Take over."""
        self.held[task] = _moved(source, self._folder / f"{task}.delta", delta)
        shutil.rmtree(self.checkpoints(task), ignore_errors=True)

    async def open(self, task: TaskId, delta: Blob) -> Path:
        """Give the place, if what lies there is the delta."""
        if task not in self.held:
            raise Damaged("gone")
        _check(self.held[task], delta)
        return self.held[task]

    async def discard(self, task: TaskId) -> None:
        """Delete."""
        shutil.rmtree(self.checkpoints(task), ignore_errors=True)
        if path := self.held.pop(task, None):
            path.unlink(missing_ok=True)

    async def free_bytes(self) -> int:
        """Tell what the test says."""
        return self.free

    def checkpoints(self, task: TaskId) -> Path:
        """Name a folder."""
        return self._folder / f"{task}.checkpoints"

    async def reached(self, task: TaskId) -> int:
        """Look at the heads."""
        return newest_step(self.checkpoints(task))

    async def sweep(self, keep: Collection[TaskId], begun: Collection[TaskId] = ()) -> tuple[str, ...]:
        """Delete the others."""
        kept = {self.checkpoints(task) for task in begun}
        dropped = [path for path in self._folder.glob("*.checkpoints") if path not in kept]
        for path in dropped:
            shutil.rmtree(path)
        orphans = [(task, path) for task, path in self.held.items() if task not in keep]
        work = [path for path in self.work if path.exists()]
        for task, path in orphans:
            path.unlink(missing_ok=True)
            del self.held[task]
        for path in work:
            path.unlink()
        return tuple(sorted(path.name for path in [*work, *dropped, *(path for _, path in orphans)]))


class MemoryJournal:
    """A journal that forgets with the process."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.epoch = 0
        self.saves: list[Session] = []
        self.known: tuple[Survey, ...] = ()
        self.problems: tuple[str, ...] = ()

    async def load(self, box: Box) -> Session:
        """Give what was saved last."""
        return records.load(self.rows, box)[0]

    async def save(self, session: Session) -> None:
        """Remember."""
        self.rows = records.dump(session)
        self.saves.append(session)

    async def next_epoch(self) -> int:
        """Count."""
        self.epoch += 1
        return self.epoch

    async def jump_epoch(self, past: int) -> None:
        """Go on beyond."""
        self.epoch = max(self.epoch, past)

    async def surveys(self) -> tuple[Survey, ...]:
        """Give what was found."""
        return self.known

    async def save_surveys(self, surveys: Collection[Survey]) -> None:
        """Remember these."""
        self.known = tuple(surveys)

    async def answers(self) -> bool:
        """Answer at once."""
        return True


PROTECTED = b"protected"


@dataclass
class ScriptedWorker:
    """Replies in order; None: it never answers. `wrote` fills the delta of a job that trains, PROTECTED the other."""

    replies: list[Reply | Exception | None] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    wrote: bytes = b""
    killed: int = 0
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    def interrupt(self) -> None:
        """End what never answers by `Stopped`."""
        self._asked.set()

    async def run(self, job: Job, on_step: Callable[[Stepped], None]) -> Reply:
        """Do it."""
        self.jobs.append(job)
        if isinstance(job, Train):
            on_step(Stepped(1, 2, 0.5))
            if job.plan.train:
                _write(Path(job.delta_path), self.wrote)
        if isinstance(job, Protect):
            _write(Path(job.protected_path), PROTECTED)
        reply = self.replies.pop(0) if self.replies else Died("the script has ended")
        if reply is None:
            self._asked.clear()
            try:
                await self._asked.wait()
            except BaseException:
                self.killed += 1
                raise
            return Stopped()
        if isinstance(reply, Exception):
            raise reply
        assert reply is not None
        return reply


@dataclass
class MemoryCache:
    """Blobs that are there, behind `gate`, as files; first come `troubles`; `asked` is told of each get."""

    folder: Path
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    troubles: list[Exception] = field(default_factory=list)
    pruned: list[frozenset[Digest]] = field(default_factory=list)
    pruning: Exception | None = None
    asked: Callable[[], None] = lambda: None
    here: set[Digest] = field(default_factory=set)
    gate: Gate = field(default_factory=Gate)
    wrong: Counter[Digest] = field(default_factory=Counter)

    def put(self, data: bytes) -> Blob:
        """Add one."""
        blob = digests.of_bytes(data)
        self.blobs[blob.digest] = data
        return blob

    async def get(self, blob: Blob, *, durably: bool) -> Path:
        """Give the file."""
        self.asked()
        if self.troubles:
            raise self.troubles.pop(0)
        path = self.folder / blob.digest
        if blob.digest in self.here and path.exists():
            return path
        if blob.digest not in self.blobs:
            raise Gone("no such blob")
        await self.gate()
        if digests.of_bytes(self.blobs[blob.digest]) != blob:
            self.wrong[blob.digest] += 1
            if self.wrong[blob.digest] == WRONG_AT_MOST:
                del self.wrong[blob.digest]
                raise Gone(f"what came has another SHA-256, {WRONG_AT_MOST} times in a row")
            raise Unavailable("what came has another SHA-256")
        del self.wrong[blob.digest]
        path.write_bytes(self.blobs[blob.digest])
        self.here.add(blob.digest)
        return path

    async def prune(self, keep: Collection[Digest]) -> None:
        """Delete the others, and note what was kept."""
        if self.pruning:
            raise self.pruning
        self.pruned.append(frozenset(keep))
        for digest in self.here - set(keep):
            (self.folder / digest).unlink(missing_ok=True)
        self.here &= set(keep)


@dataclass
class MemoryShelf:
    """What is installed, by model; what a test lays into `versions` itself is taken for whole."""

    versions: dict[tuple[ModelName, VersionId], Path] = field(default_factory=dict)
    current: dict[ModelName, VersionId] = field(default_factory=dict)
    previous: dict[ModelName, VersionId] = field(default_factory=dict)
    taken: set[tuple[ModelName, VersionId]] = field(default_factory=set)

    async def find(self, model: ModelName, version: VersionId, onnx: Blob) -> Path | None:
        """Give the place."""
        path = self.versions.get((model, version))
        if path is None or (model, version) not in self.taken:
            return path
        return path if path.exists() and digests.of_file(path) == onnx else None

    async def put(self, model: ModelName, version: VersionId, onnx: Path) -> Path:
        """Take over, beside where it lay."""
        place = _renamed(onnx, onnx.with_name(f"{model}.{version}.onnx"))
        self.versions[model, version] = place
        self.taken.add((model, version))
        return place

    async def activate(self, model: ModelName, version: VersionId) -> None:
        """Make it the current one, keep the one before it."""
        before = self.current.get(model, version)
        if before != version:
            self.previous[model] = before
        self.current[model] = version
        for name in [name for name in self.versions if name[0] == model]:
            if name[1] not in {version, self.previous.get(model)}:
                del self.versions[name]


@dataclass
class QuietLink:
    """A connection that only counts; of epoch 0 it is none yet. `hellos` are the registrations published."""

    epoch: int = 1
    inventory: Inventory = field(default_factory=Inventory)
    hellos: list[Hello] = field(default_factory=list)
    announced: int = 0
    renewed: int = 0
    pulses: int = 0
    settled: str = ""

    def __post_init__(self) -> None:
        self._publish()

    def connect(self) -> None:
        """Come to the broker, or come anew."""
        self.epoch += 1
        self._publish()

    @property
    def hello_hash(self) -> str:
        """Digest the last registration."""
        return hashed(self.hellos[-1]) if self.hellos else ""

    @property
    def unknown(self) -> Hello | None:
        """Tell the last registration, unless it is known."""
        return self.hellos[-1] if self.hellos and self.hello_hash != self.settled else None

    def known(self, hello_hash: str, *, is_known: bool) -> None:
        """Remember which one is."""
        self.settled = hello_hash if is_known else ""

    async def announce(self) -> None:
        """Count, and publish."""
        self.announced += 1
        self._publish()

    async def renew(self) -> None:
        """Count, and connect."""
        self.renewed += 1
        self.connect()

    def pulse(self) -> None:
        """Count."""
        self.pulses += 1

    def _publish(self) -> None:
        if self.epoch:
            self.hellos.append(Hello(self.epoch, self.inventory))


def hashed(hello: Hello) -> str:
    """Digest a registration as both sides do."""
    return digests.of_bytes(convert.hello_to(hello).SerializeToString(deterministic=True)).digest


def _moved(source: Path, target: Path, delta: Blob) -> Path:
    _check(source, delta)
    return _renamed(source, target)


def _renamed(source: Path, target: Path) -> Path:
    return source.rename(target)


def _check(path: Path, delta: Blob) -> None:
    if not path.exists() or digests.of_file(path) != delta:
        raise Damaged("not the delta that was announced")


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
