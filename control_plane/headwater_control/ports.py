"""What the control plane needs of the world, as narrow interfaces. Edges implement them; tests bring fakes."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from headwater_wire.ids import DeviceId, Digest, ModelName, RolloutId, RunId, TaskId, VersionId
from headwater_wire.messages import Blob, Deployment, Metrics, Progress, Task

from headwater_control.core.fleet import Beat, Device
from headwater_control.core.models import Model, Release, Version
from headwater_control.core.rollout import DeploymentRecord, Rollout
from headwater_control.core.runs import Round, Run, RunState, TaskRecord, TaskState

Labels = tuple[tuple[str, str], ...]


class Clock(Protocol):
    """Time, so that it can be virtual."""

    def now(self) -> datetime:
        """Tell the time, aware, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Ids(Protocol):
    """Names for new things, so that they can be foreseen in tests."""

    def new(self, prefix: str) -> str:
        """Make an identifier such as `run-3k9x0c2m1q`, unique and sortable by time of making."""


# ── what is true: the store ────────────────────────────────────────────────────────────────────────────────────


class Devices(Protocol):
    """The fleet."""

    async def get(self, device: DeviceId, *, lock: bool = False) -> Device | None:
        """Read one; with `lock` nobody else changes it until the transaction ends."""

    async def several(self, devices: Collection[DeviceId]) -> dict[DeviceId, Device]:
        """Read many at once; those that are not there are left out."""

    async def save(self, device: Device) -> None:
        """Insert, or replace."""

    async def matching(self, labels: Labels = ()) -> tuple[Device, ...]:
        """List those that have all of `labels`, by id."""

    async def touch(self, beats: Sequence[Beat]) -> None:
        """Note signs of life, many at once: last_seen, held_revision, and online if the epoch is not older."""

    async def raise_revision(self, devices: Collection[DeviceId]) -> dict[DeviceId, int]:
        """Count one more change meant for each; return the new revisions."""


class Models(Protocol):
    """Models and their versions."""

    async def add(self, model: Model) -> None:
        """Insert; raise `AlreadyExists` if the name is taken."""

    async def get(self, name: ModelName) -> Model | None:
        """Read one."""

    async def all(self) -> tuple[Model, ...]:
        """List them by name."""

    async def add_version(
        self,
        model: ModelName,
        parameters: Blob,
        *,
        parent: VersionId | None,
        run: RunId | None,
        round_number: int | None,
        at: datetime,
    ) -> Version:
        """Insert the model's next version, numbered without gaps; raise `AlreadyExists` if (run, round) has one."""

    async def version(self, version: VersionId) -> Version | None:
        """Read one."""

    async def versions(self, model: ModelName) -> tuple[Version, ...]:
        """List a model's, oldest first."""

    async def set_release(self, version: VersionId, release: Release) -> None:
        """Remember what was composed for a version."""


class Runs(Protocol):
    """Runs and rounds. Writes by a leader carry its fencing token; an overtaken one raises `Fenced`."""

    async def add(self, run: Run) -> None:
        """Insert."""

    async def get(self, run: RunId, *, lock: bool = False) -> Run | None:
        """Read one."""

    async def all(self, states: Collection[RunState] = ()) -> tuple[Run, ...]:
        """List those in one of `states` (all, if none is given), oldest first."""

    async def save(self, run: Run, *, token: int | None = None) -> None:
        """Replace."""

    async def lead(self, run: RunId, holder: str, now: datetime, ttl_s: float) -> int | None:
        """Take or renew the lease on a run: the fencing token, or None while another holder's lease lasts.

        The token changes when the holder does, so `holder` must name one process, not a machine.
        """

    async def round(self, run: RunId, number: int, *, lock: bool = False) -> Round | None:
        """Read one round."""

    async def rounds(self, run: RunId) -> tuple[Round, ...]:
        """List a run's, first to last."""

    async def save_round(self, record: Round, *, token: int | None = None) -> None:
        """Insert, or replace."""


class Tasks(Protocol):
    """Tasks."""

    async def add(self, tasks: Sequence[TaskRecord]) -> None:
        """Insert."""

    async def get(self, task: TaskId, *, lock: bool = False) -> TaskRecord | None:
        """Read one."""

    async def of_round(self, run: RunId, number: int) -> tuple[TaskRecord, ...]:
        """List a round's, in selection order."""

    async def open_of(self, device: DeviceId) -> tuple[TaskRecord, ...]:
        """List a device's open ones, oldest first."""

    async def close(
        self,
        task: TaskId,
        state: TaskState,
        *,
        at: datetime,
        reason: str = "",
        delta: Blob | None = None,
        codec: str = "",
        metrics: Metrics | None = None,
    ) -> bool:
        """End an open task; say False, changing nothing, if it has ended already. A delta's size becomes bytes_up."""

    async def note(self, progress: Sequence[tuple[DeviceId, Progress]], at: datetime) -> None:
        """Note phases and steps of open tasks, many at once; of others', or of ended tasks, nothing."""

    async def add_bytes_down(self, task: TaskId, size: int) -> None:
        """Count what was sent to a task's device for it."""


class Rollouts(Protocol):
    """Rollouts and deployments."""

    async def add(self, rollout: Rollout, deployments: Sequence[DeploymentRecord]) -> None:
        """Insert both."""

    async def get(self, rollout: RolloutId) -> Rollout | None:
        """Read one."""

    async def all(self, model: ModelName | None = None) -> tuple[Rollout, ...]:
        """List them, oldest first."""

    async def save(self, rollout: Rollout) -> None:
        """Replace."""

    async def deployments(self, rollout: RolloutId) -> tuple[DeploymentRecord, ...]:
        """List a rollout's, by device."""

    async def desired(self, device: DeviceId) -> tuple[DeploymentRecord, ...]:
        """List what a device should have: per model, the deployment of the highest generation."""

    async def save_deployment(self, deployment: DeploymentRecord) -> None:
        """Insert, or replace."""


class Transaction(Protocol):
    """All repositories, at one point in time."""

    @property
    def devices(self) -> Devices: ...
    @property
    def models(self) -> Models: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def tasks(self) -> Tasks: ...
    @property
    def rollouts(self) -> Rollouts: ...

    async def live_blobs(self) -> frozenset[Digest]:
        """Name every blob that a row still needs: bundles, graphs, versions, releases, deltas of unmerged rounds."""


class Store(Protocol):
    """The database."""

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a consistent view; to change or lock anything in it raises `RuntimeError`."""

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction: committed, durably, on a clean exit; rolled back on an exception.

        Any step of it may raise `Busy`. Don't open one within another: the inner waits for the outer, until `Busy`.
        """


class AlreadyExists(Exception):
    """Something of that name or number is there already. The transaction goes on, without it.

    A row that refers to one that is not there, and a change of one that is not there, raise `KeyError`.
    """


class Fenced(Exception):
    """A write by a leader that another one has replaced: stop leading."""


class Busy(Exception):
    """The database gave a transaction up (deadlock, full, waited too long, connection lost): run it again later."""


# ── bytes ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Staging(Protocol):
    """An unfinished upload: local and unsynced, so its offset is only a hint."""

    @property
    def offset(self) -> int: ...

    async def write(self, data: bytes) -> None:
        """Append; raise `LengthMismatch` beyond the announced size."""

    async def path(self) -> Path:
        """Check length and SHA-256 of the whole and give its place, still unsynced; on a mismatch discard and raise."""

    async def commit(self) -> Blob:
        """Make it a blob: durable on return."""


class TakenOver(Exception):
    """A newer upload with the same key has begun: this one is the trace of a broken connection."""


class Blobs(Protocol):
    """Immutable, content-addressed objects."""

    async def put(self, data: bytes) -> Blob:
        """Store: durable on return."""

    async def adopt(self, path: Path) -> Blob:
        """Store a file of the same file system by moving it: durable on return."""

    async def size(self, digest: Digest) -> int | None:
        """Tell a blob's size, or None if there is none."""

    def path(self, digest: Digest) -> Path:
        """Name a local file with the blob's bytes, for a child process; raise `KeyError` if there is none."""

    def read(self, digest: Digest, offset: int = 0) -> AsyncIterator[bytes]:
        """Give the bytes from `offset` on, in chunks of 512 KiB; raise `KeyError` if there is no such blob."""

    def stage(self, key: str, announced: Blob) -> AbstractAsyncContextManager[Staging]:
        """Open, or reopen, an unfinished upload. Leaving the context keeps it, unless it was committed.

        A second one with the same key takes over: whatever the first does next raises `TakenOver`.
        """

    async def delete(self, digest: Digest) -> None:
        """Forget; of what is not there, nothing."""

    async def sweep(self, live: frozenset[Digest], keep_newer_s: float = 3600.0) -> int:
        """Delete what is neither live nor recent, and stale staging; return how many bytes that freed."""


# ── heavy work, in a child process ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ImportJob:
    """Turn an ONNX file into a bundle. `trainable` are name patterns (fnmatch); none: everything that can train."""

    onnx_path: Path
    out_dir: Path
    model: ModelName
    loss: str
    trainable: tuple[str, ...]
    output: str = ""  # which graph output the loss reads; "": the only one


@dataclass(frozen=True, slots=True)
class Imported:
    """Files in `out_dir`, and what is worth telling."""

    manifest_path: Path
    graph_path: Path
    parameters_path: Path  # safetensors: the first version
    elements: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MergeJob:
    """Fold deltas, in this order, into the base."""

    strategy: str
    base_path: Path
    deltas: tuple[tuple[Path, int], ...]  # (file, examples)
    codec: str
    out_path: Path  # safetensors: the new version


class Offload(Protocol):
    """What is too heavy for the event loop. Bad input raises `Unusable` with a sentence for a person."""

    async def import_model(self, job: ImportJob) -> Imported:
        """Check, make the bundle, and prove once that it trains."""

    async def import_version(self, manifest: Path, source: Path, out_path: Path) -> None:
        """Turn centrally retrained parameters (safetensors, npz or ONNX, by name) into a version's file."""

    async def compose(self, manifest: Path, graph: Path, parameters: Path, out_dir: Path) -> tuple[Path, Path]:
        """Make (model.onnx, reference.safetensors) of a version."""

    async def check_delta(self, path: Path, codec: str, elements: int) -> None:
        """Look a staged delta over: length, and every value finite."""

    async def merge(self, job: MergeJob) -> None:
        """Write the merged version to job.out_path, not yet synced."""


class Unusable(Exception):
    """Input that can't be worked with: the message says why and what to do."""


class OffloadFailed(Exception):
    """The work did not get done though its input may be good: no disk, no memory, no time. May be tried again."""


# ── out to the devices ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Assign:
    """Tell a device of a task."""

    device: DeviceId
    revision: int
    task: Task


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Tell a device that a task is over."""

    device: DeviceId
    revision: int
    task: TaskId
    reason: str


@dataclass(frozen=True, slots=True)
class Deploy:
    """Tell a device what to install."""

    device: DeviceId
    revision: int
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Ring:
    """Tell a device to come and sync."""

    device: DeviceId
    revision: int


Downward = Assign | Withdraw | Deploy | Ring


class Publisher(Protocol):
    """MQTT, downwards: fast and forgetful. What is lost is healed by Sync, since the revision was raised."""

    async def publish(self, messages: Sequence[Downward]) -> None:
        """Send, or drop with a line in the log; never raise, never wait long."""
