"""The store in memory: every promise of the port but durability."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

from headwater_control.core.fleet import Beat, Device
from headwater_control.core.models import Bundle, Model, Release, Version
from headwater_control.core.rollout import DeploymentRecord, Rollout
from headwater_control.ports import Busy, Labels
from headwater_wire.ids import DeviceId, Digest, ModelName, RolloutId, RunId, VersionId, version_id
from headwater_wire.messages import Blob

from tests.fakes.memory_audit import MemoryAudit
from tests.fakes.memory_members import MemoryInvites, MemoryMembers
from tests.fakes.memory_runs import MemoryRuns, MemoryTasks
from tests.fakes.memory_tables import Tables, must_have, must_lack
from tests.fakes.memory_tokens import MemoryTokens


class MemoryDevices:
    """The fleet."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def get(self, device: DeviceId, *, lock: bool = False) -> Device | None:
        return (self._tables.change() if lock else self._tables).devices.get(device)

    async def several(self, devices: Collection[DeviceId], *, lock: bool = False) -> dict[DeviceId, Device]:
        rows = (self._tables.change() if lock else self._tables).devices
        return {key: rows[key] for key in sorted(set(devices) & set(rows))}

    async def save(self, device: Device) -> None:
        self._tables.change().devices[device.id] = device

    async def matching(self, labels: Labels = ()) -> tuple[Device, ...]:
        rows = self._tables.devices
        return tuple(rows[key] for key in sorted(rows) if set(labels) <= set(rows[key].labels))

    async def touch(self, beats: Sequence[Beat]) -> None:
        rows = self._tables.change().devices
        for beat in beats:
            if (known := rows.get(beat.device)) is None:
                continue
            seen = max(known.last_seen or beat.at, beat.at)
            now = replace(known, last_seen=seen, held_revision=beat.revision)
            if beat.epoch > known.epoch:  # a new life of the agent: it counts its presence from the start
                now = replace(now, epoch=beat.epoch, seq=0)
            later = known.presence_at is None or known.presence_at <= beat.at
            if not known.online and (beat.epoch > known.epoch or (beat.epoch == known.epoch and later)):
                now = replace(now, online=True, presence_at=beat.at)
            rows[beat.device] = now

    async def raise_revision(self, devices: Collection[DeviceId]) -> dict[DeviceId, int]:
        rows = self._tables.change().devices
        raised = {}
        for key in sorted(set(devices) & set(rows)):
            rows[key] = replace(rows[key], revision=rows[key].revision + 1)
            raised[key] = rows[key].revision
        return raised


class MemoryBundles:
    """The ways in which models are trained."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, bundle: Bundle) -> None:
        must_have(self._tables.models, bundle.model)
        self._tables.change().bundles[bundle.model, bundle.training] = bundle

    async def get(self, model: ModelName, training: str) -> Bundle | None:
        return self._tables.bundles.get((model, training))


class MemoryModels:
    """Models and their versions."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, model: Model) -> None:
        must_lack(self._tables.models, model.name, "model")
        self._tables.change().models[model.name] = model

    async def get(self, name: ModelName) -> Model | None:
        return self._tables.models.get(name)

    async def all(self) -> tuple[Model, ...]:
        return tuple(self._tables.models[name] for name in sorted(self._tables.models))

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
        tables = self._tables.change()
        must_have(tables.models, model)
        made = {(known.run, known.round) for known in tables.versions.values() if known.run is not None}
        must_lack(made, (run, round_number), "a version of (run, round)")
        number = len(await self.versions(model)) + 1
        version = Version(version_id(model, number), model, number, parameters, parent, run, round_number, at)
        tables.versions[version.id] = version
        return version

    async def version(self, version: VersionId) -> Version | None:
        return self._tables.versions.get(version)

    async def versions(self, model: ModelName) -> tuple[Version, ...]:
        rows = self._tables.versions.values()
        return tuple(sorted((row for row in rows if row.model == model), key=lambda row: row.number))

    async def set_release(self, version: VersionId, release: Release) -> None:
        rows = self._tables.change().versions
        rows[version] = replace(rows[version], release=release)


class MemoryRollouts:
    """Rollouts and deployments."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, rollout: Rollout, deployments: Sequence[DeploymentRecord]) -> None:
        tables = self._tables.change()
        must_lack(tables.rollouts, rollout.id, "rollout")
        taken = {(row.model, row.generation) for row in tables.rollouts.values()}
        must_lack(taken, (rollout.model, rollout.generation), "a rollout of (model, generation)")
        must_have(tables.versions, rollout.version)
        rows = tables.deployments.copy()
        for deployment in deployments:
            must_lack(rows, (deployment.rollout, deployment.device), "deployment")
            must_have((rollout.id, *tables.rollouts), deployment.rollout)
            must_have(tables.devices, deployment.device)
            rows[deployment.rollout, deployment.device] = deployment
        tables.rollouts[rollout.id] = rollout
        tables.deployments = rows

    async def get(self, rollout: RolloutId) -> Rollout | None:
        return self._tables.rollouts.get(rollout)

    async def all(self, model: ModelName | None = None) -> tuple[Rollout, ...]:
        rows = (row for row in self._tables.rollouts.values() if model is None or row.model == model)
        return tuple(sorted(rows, key=lambda row: (row.created_at, row.id)))

    async def save(self, rollout: Rollout) -> None:
        must_have(self._tables.rollouts, rollout.id)
        self._tables.change().rollouts[rollout.id] = rollout

    async def deployments(self, rollout: RolloutId) -> tuple[DeploymentRecord, ...]:
        return tuple(row for key, row in sorted(self._tables.deployments.items()) if key[0] == rollout)

    async def desired(self, device: DeviceId) -> tuple[DeploymentRecord, ...]:
        newest: dict[ModelName, DeploymentRecord] = {}
        for row in self._tables.deployments.values():
            if row.device == device and row.generation > getattr(newest.get(row.model), "generation", -1):
                newest[row.model] = row
        return tuple(newest[model] for model in sorted(newest))

    async def save_deployment(self, deployment: DeploymentRecord) -> None:
        tables = self._tables.change()
        must_have(tables.rollouts, deployment.rollout)
        must_have(tables.devices, deployment.device)
        tables.deployments[deployment.rollout, deployment.device] = deployment


class MemoryTransaction:
    """All repositories over one snapshot."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.devices = MemoryDevices(tables)
        self.models = MemoryModels(tables)
        self.bundles = MemoryBundles(tables)
        self.runs = MemoryRuns(tables)
        self.tasks = MemoryTasks(tables)
        self.rollouts = MemoryRollouts(tables)
        self.audit = MemoryAudit(tables)
        self.tokens = MemoryTokens(tables)
        self.invites = MemoryInvites(tables)
        self.members = MemoryMembers(tables)

    async def live_blobs(self, among: frozenset[Digest] | None = None) -> frozenset[Digest]:
        tables = self._tables
        blobs = [blob for model in tables.models.values() for blob in (model.bundle, model.graph)]
        blobs += [blob for bundle in tables.bundles.values() for blob in (bundle.manifest, *bundle.files)]
        for version in tables.versions.values():
            blobs.append(version.parameters)
            blobs.extend((version.release.onnx, version.release.reference) if version.release else ())
        waiting = (task for task in tables.tasks.values() if not tables.rounds[task.run, task.round].state.final)
        live = frozenset(blob.digest for blob in (*blobs, *(task.delta for task in waiting)) if blob)
        return live if among is None else live & among


class MemoryStore:
    """A store that forgets everything with the test."""

    def __init__(self, wait_s: float = 10.0) -> None:
        self._wait_s = wait_s
        self._committed = Tables()
        self._turn = asyncio.Lock()

    @property
    def tables(self) -> Tables:
        """Give what is committed."""
        return self._committed

    @asynccontextmanager
    async def read(self) -> AsyncIterator[MemoryTransaction]:
        """Open a consistent view."""
        await asyncio.sleep(0)  # as a database would, let others run
        yield MemoryTransaction(self._committed)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[MemoryTransaction]:
        """Open a transaction, one at a time."""
        try:
            async with asyncio.timeout(self._wait_s):  # wait_for of Python 3.11 may swallow a cancellation
                await self._turn.acquire()
        except TimeoutError:
            raise Busy("another transaction did not end: is a write() opened within a write()?") from None
        try:
            draft = self._committed.snapshot()
            await asyncio.sleep(0)
            yield MemoryTransaction(draft)
            draft.writable = False
            self._committed = draft
        finally:
            self._turn.release()
