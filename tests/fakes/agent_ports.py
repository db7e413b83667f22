"""Fakes of the agent's ports, in memory, for tests of what orders them."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

from headwater_agent.core.session import Box, Session
from headwater_agent.edges import records
from headwater_agent.ports import Damaged, Died, Gone, Survey
from headwater_agent.training.protocol import Job, Reply, Stepped
from headwater_wire import digests
from headwater_wire.ids import Digest, ModelName, TaskId, VersionId
from headwater_wire.messages import Blob, Offer, Receipt, SyncAnswer, SyncRequest

_T = TypeVar("_T")


class MemorySpool:
    """A spool without durability: a dict of paths."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self.held: dict[TaskId, Path] = {}
        self.work: list[Path] = []

    def work_path(self, task: TaskId, attempt: int) -> Path:
        """Name a place."""
        self.work.append(self._folder / f"{task}.{attempt}.{next(self._numbers)}")
        return self.work[-1]

    async def adopt(self, task: TaskId, source: Path, delta: Blob) -> None:
        """Take over."""
        self.held[task] = _moved(source, self._folder / f"{task}.delta", delta)

    async def open(self, task: TaskId, delta: Blob) -> Path:
        """Give the place."""
        if task not in self.held:
            raise Damaged("gone")
        return self.held[task]

    async def discard(self, task: TaskId) -> None:
        """Delete."""
        if path := self.held.pop(task, None):
            path.unlink()

    async def sweep(self, keep: Collection[TaskId]) -> tuple[str, ...]:
        """Delete the others."""
        orphans = [(task, path) for task, path in self.held.items() if task not in keep]
        work = [path for path in self.work if path.exists()]
        for task, path in orphans:
            path.unlink()
            del self.held[task]
        for path in work:
            path.unlink()
        return tuple(sorted(path.name for path in [*work, *(path for _, path in orphans)]))


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


@dataclass
class ScriptedUplink:
    """Answers in order what the script holds for each call; an exception is raised."""

    answers: list[SyncAnswer | Exception] = field(default_factory=list)
    receipts: list[Receipt | Exception] = field(default_factory=list)
    requests: list[SyncRequest] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)

    async def sync(self, request: SyncRequest) -> SyncAnswer:
        """Answer."""
        self.requests.append(request)
        return _next(self.answers)

    async def upload(self, offer: Offer, path: Path, sent: Callable[[int], None]) -> Receipt:
        """Take it, or not."""
        self.offers.append(offer)
        sent(offer.delta.size)
        return _next(self.receipts)


@dataclass
class ScriptedWorker:
    """Replies in order; None: it never answers. `wrote` fills the delta of a Train job."""

    replies: list[Reply | Exception | None] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    wrote: bytes = b""
    killed: int = 0

    async def run(self, job: Job, on_step: Callable[[Stepped], None]) -> Reply:
        """Do it."""
        self.jobs.append(job)
        if delta_path := getattr(job, "delta_path", ""):
            _write(Path(delta_path), self.wrote)
            on_step(Stepped(1, 2, 0.5))
        reply = self.replies.pop(0) if self.replies else Died("the script has ended")
        if reply is None:
            try:
                await asyncio.Event().wait()
            finally:
                self.killed += 1
        if isinstance(reply, Exception):
            raise reply
        assert reply is not None
        return reply


@dataclass
class MemoryCache:
    """Blobs that are there, at once, as files; an exception in `troubles` comes first; `asked` is told of each get."""

    folder: Path
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    troubles: list[Exception] = field(default_factory=list)
    pruned: list[frozenset[Digest]] = field(default_factory=list)
    pruning: Exception | None = None
    asked: Callable[[], None] = lambda: None

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
        if blob.digest not in self.blobs:
            raise Gone("no such blob")
        path = self.folder / blob.digest
        path.write_bytes(self.blobs[blob.digest])
        return path

    async def prune(self, keep: Collection[Digest]) -> None:
        """Note what was kept."""
        if self.pruning:
            raise self.pruning
        self.pruned.append(frozenset(keep))


@dataclass
class MemoryShelf:
    """What is installed, by model."""

    versions: dict[tuple[ModelName, VersionId], Path] = field(default_factory=dict)
    current: dict[ModelName, VersionId] = field(default_factory=dict)

    async def find(self, model: ModelName, version: VersionId, onnx: Blob) -> Path | None:
        """Give the place."""
        return self.versions.get((model, version))

    async def put(self, model: ModelName, version: VersionId, onnx: Path) -> Path:
        """Take over."""
        self.versions[model, version] = onnx
        return onnx

    async def activate(self, model: ModelName, version: VersionId) -> None:
        """Make it the current one."""
        self.current[model] = version


@dataclass
class QuietLink:
    """A connection that only counts."""

    epoch: int = 1
    hello_hash: str = "h"
    announced: int = 0
    renewed: int = 0
    pulses: int = 0

    async def announce(self) -> None:
        """Count."""
        self.announced += 1

    async def renew(self) -> None:
        """Count."""
        self.renewed += 1

    def pulse(self) -> None:
        """Count."""
        self.pulses += 1


def _next(script: list[_T | Exception]) -> _T:
    answer = script.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _moved(source: Path, target: Path, delta: Blob) -> Path:
    if not source.exists() or digests.of_file(source) != delta:
        raise Damaged("not the delta that was announced")
    return source.rename(target)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
