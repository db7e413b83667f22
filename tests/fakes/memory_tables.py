"""The rows of the store in memory, and the promises that a database's constraints keep."""

from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime

from headwater_control.core.audit import Entry
from headwater_control.core.authority import ApiToken
from headwater_control.core.fleet import Device
from headwater_control.core.identity import Certificate, Invite, Standing
from headwater_control.core.models import Bundle, Model, Version
from headwater_control.core.rollout import DeploymentRecord, Rollout
from headwater_control.core.runs import Round, Run, TaskRecord
from headwater_control.ports import AlreadyExists, Fenced
from headwater_wire.ids import DeviceId, ModelName, RolloutId, RunId, TaskId, VersionId


@dataclass(frozen=True, slots=True)
class Lease:
    """Who leads a run."""

    holder: str
    until: datetime
    token: int


@dataclass(slots=True)
class Tables:
    """All rows. Records are immutable, so a shallow copy is a snapshot."""

    devices: dict[DeviceId, Device] = field(default_factory=dict)
    models: dict[ModelName, Model] = field(default_factory=dict)
    bundles: dict[tuple[ModelName, str], Bundle] = field(default_factory=dict)
    versions: dict[VersionId, Version] = field(default_factory=dict)
    runs: dict[RunId, Run] = field(default_factory=dict)
    leases: dict[RunId, Lease] = field(default_factory=dict)
    rounds: dict[tuple[RunId, int], Round] = field(default_factory=dict)
    tasks: dict[TaskId, TaskRecord] = field(default_factory=dict)
    rollouts: dict[RolloutId, Rollout] = field(default_factory=dict)
    deployments: dict[tuple[RolloutId, DeviceId], DeploymentRecord] = field(default_factory=dict)
    audit: list[Entry] = field(default_factory=list)
    tokens: dict[str, ApiToken] = field(default_factory=dict)
    invites: dict[str, Invite] = field(default_factory=dict)
    standings: dict[DeviceId, Standing] = field(default_factory=dict)
    certificates: dict[str, Certificate] = field(default_factory=dict)
    writable: bool = False

    def snapshot(self) -> "Tables":
        """Copy, open for changes."""
        return Tables(
            self.devices.copy(),
            self.models.copy(),
            self.bundles.copy(),
            self.versions.copy(),
            self.runs.copy(),
            self.leases.copy(),
            self.rounds.copy(),
            self.tasks.copy(),
            self.rollouts.copy(),
            self.deployments.copy(),
            self.audit.copy(),
            self.tokens.copy(),
            self.invites.copy(),
            self.standings.copy(),
            self.certificates.copy(),
            writable=True,
        )

    def change(self) -> "Tables":
        """Return itself, if this is a write()."""
        if not self.writable:
            raise RuntimeError("nothing can be changed or locked in a read(): open a write()")
        return self

    def lead_by(self, run: RunId, token: int | None) -> None:
        """Raise `Fenced` unless `token` is the run's."""
        lease = self.leases.get(run)
        if token is not None and (lease is None or lease.token != token):
            raise Fenced(f"token {token} no longer leads run {run}: stop leading it")


def must_have(rows: Container[object], key: object) -> None:
    """Raise `KeyError` unless there is a row of that key, as a foreign key would."""
    if key not in rows:
        raise KeyError(key)


def must_lack(rows: Container[object], key: object, what: str) -> None:
    """Raise `AlreadyExists` if there is a row of that key."""
    if key in rows:
        raise AlreadyExists(f"{what} {key} exists already: take another name")
