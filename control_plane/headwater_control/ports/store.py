"""What is true: the database, as repositories in a transaction."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from headwater_wire.ids import DeviceId, Digest, ModelName, RolloutId, RunId, TaskId, VersionId
from headwater_wire.messages import Blob, Metrics, Progress

from headwater_control.core.audit import Caller, Deed, Entry, Head
from headwater_control.core.authority import ApiToken
from headwater_control.core.fleet import Beat, Device
from headwater_control.core.identity import Barred, Certificate, Invite, Member, Standing
from headwater_control.core.models import Bundle, Model, Release, Version
from headwater_control.core.rollout import DeploymentRecord, Rollout
from headwater_control.core.runs import Round, Run, RunState, TaskRecord, TaskState

Labels = tuple[tuple[str, str], ...]


class Devices(Protocol):
    """The fleet."""

    async def get(self, device: DeviceId, *, lock: bool = False) -> Device | None:
        """Read one; with `lock` nobody else changes it until the transaction ends."""

    async def several(self, devices: Collection[DeviceId], *, lock: bool = False) -> dict[DeviceId, Device]:
        """Read many at once; those that are not there are left out. `lock` takes them in order of id."""

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


class Bundles(Protocol):
    """The ways in which models are trained."""

    async def add(self, bundle: Bundle) -> None:
        """Insert, or replace."""

    async def get(self, model: ModelName, training: str) -> Bundle | None:
        """Read one."""


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

    async def lock(self, tasks: Collection[TaskId]) -> None:
        """Let nobody else change these until the transaction ends; in order of id, so that nobody waits in a circle."""

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

    async def drop(self, task: TaskId, *, at: datetime, reason: str) -> bool:
        """Cancel one that has succeeded, and forget its delta; say False, changing nothing, if it has not."""

    async def note(self, progress: Sequence[tuple[DeviceId, Progress]], at: datetime) -> None:
        """Note phases and steps of open tasks, many at once; of others', or of ended tasks, nothing."""

    async def late(self, task: TaskId, at: datetime) -> None:
        """Note that an ended task's delta was offered, and count it for its device; a second time changes nothing."""

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


class Audit(Protocol):
    """The audit log. It only grows."""

    async def append(self, done: Deed, caller: Caller, at: datetime) -> Entry:
        """Add the next entry of the chain. Until the transaction ends nobody else can: do it last, after all locks."""

    async def entries(self, after: int, limit: int) -> tuple[Entry, ...]:
        """List up to `limit` of those numbered above `after`, oldest first."""

    async def head(self) -> Head:
        """Say where the chain ends, as kept apart from the entries."""


class Tokens(Protocol):
    """API tokens. None is ever deleted, so that a name in the audit log stays one token's."""

    async def add(self, token: ApiToken) -> None:
        """Insert; raise `AlreadyExists` if the id or the name is taken."""

    async def get(self, token: str, *, lock: bool = False) -> ApiToken | None:
        """Read one by id."""

    async def all(self) -> tuple[ApiToken, ...]:
        """List them, revoked ones too, by id."""

    async def revoke(self, token: str, at: datetime) -> None:
        """Note that one is not valid any more; raise `KeyError` if there is none."""

    async def use(self, token: str, at: datetime) -> None:
        """Note that one was used; raise `KeyError` if there is none."""


class Invites(Protocol):
    """Invitations to enrol. They are kept for a while after their end: a second use is told from a mistyped one."""

    async def save(self, invite: Invite) -> None:
        """Insert, or replace."""

    async def get(self, invite: str, *, lock: bool = False) -> Invite | None:
        """Read one by id."""

    async def find(self, hashed: str, *, lock: bool = False) -> Invite | None:
        """Read the one with a secret of this hash."""

    async def forget(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` that ended before a time, those that ended first; return how many."""

    async def all(self) -> tuple[Invite, ...]:
        """List them, newest first."""


class Members(Protocol):
    """Who was enrolled, by which certificates, and who is shut out."""

    async def standing(self, device: DeviceId, *, lock: bool = False) -> Standing | None:
        """Read a device's; None if it was never enrolled."""

    async def save(self, standing: Standing) -> None:
        """Insert, or replace."""

    async def certify(self, certificate: Certificate) -> None:
        """Insert; raise `AlreadyExists` if there is one of that serial."""

    async def certificates(self, device: DeviceId) -> tuple[Certificate, ...]:
        """List a device's, newest first."""

    async def forget(self, device: DeviceId, before: datetime) -> None:
        """Delete a device's certificates that ended before a time: none of them can be renewed."""

    async def revoke(self, device: DeviceId, at: datetime) -> None:
        """Revoke all that a device has by now."""

    async def all(self) -> tuple[Member, ...]:
        """List every device that was enrolled, by id."""

    async def barred(self, since: datetime) -> tuple[Barred, dict[str, DeviceId]]:
        """Say who is shut out, leaving out certificates that ended before `since`; and whose each serial is."""


class Transaction(Protocol):
    """All repositories, at one point in time."""

    @property
    def devices(self) -> Devices: ...
    @property
    def models(self) -> Models: ...
    @property
    def bundles(self) -> Bundles: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def tasks(self) -> Tasks: ...
    @property
    def rollouts(self) -> Rollouts: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def invites(self) -> Invites: ...
    @property
    def members(self) -> Members: ...
    @property
    def tokens(self) -> Tokens: ...

    async def live_blobs(self, among: frozenset[Digest] | None = None) -> frozenset[Digest]:
        """Name every blob, or every one of `among`, that a row still needs.

        Those of bundles, graphs, versions and releases, and the deltas of rounds that may still be merged.
        """


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


class Damaged(Exception):
    """The database is no whole one any more: what is read from it may be wrong, what is written to it may be lost."""

    def __init__(self, found: str) -> None:
        super().__init__(f"the database is damaged: `headwater restore` the last backup ({found})")


class Busy(Exception):
    """The database gave a transaction up (deadlock, full, waited too long, connection lost): run it again later."""
