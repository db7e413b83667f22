"""What must hold of the database after each commit, whatever has happened; and of each receipt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from headwater_control.core.rollout import DeploymentRecord, DeploymentState, RolloutState
from headwater_control.core.runs import Round, RoundState, RunState, TaskRecord, TaskState
from headwater_control.service.damage import told
from headwater_wire import digests
from headwater_wire.ids import DeviceId, Digest, RunId, TaskId, VersionId

from tests.fakes.memory_tables import Tables
from tests.simulation import model
from tests.simulation.disk import Disk
from tests.simulation.history import History
from tests.simulation.records import Records

_BY_ITSELF = {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.REJECTED}  # the device's own word
_COUNTED = {"bytes_down", "late_at"}  # of a fetch that goes on; of a delta that came too late
_TOLERANCE = 1e-6
_SPOILT = told("").partition(":")[0].strip()  # nothing here damages what was fsynced


@dataclass
class Promises:
    """Looks at every commit. `disk` gives the control plane's present disk, `disk_of` a box's."""

    history: History
    records: Records
    disk: Callable[[], Disk]
    disk_of: Callable[[DeviceId], Disk | None]
    versions: dict[VersionId, model.Vector] = field(default_factory=dict)  # as the model computes them
    merged: dict[TaskId, VersionId] = field(default_factory=dict)
    receipts: dict[TaskId, str] = field(default_factory=dict)

    def committed(self, before: Tables, after: Tables) -> None:
        """A transaction is on disk."""
        self._final("task", before.tasks, after.tasks, lambda task: task.state is not TaskState.OPEN)
        self._final("round", before.rounds, after.rounds, lambda record: record.state.final)
        self._final("run", before.runs, after.runs, lambda run: run.state.final)
        self._final("rollout", before.rollouts, after.rollouts, lambda one: one.state is not RolloutState.RUNNING)
        self._final(
            "deployment", before.deployments, after.deployments, lambda one: one.state is not DeploymentState.PENDING
        )
        changed = [task for name, task in after.tasks.items() if before.tasks.get(name) is not task]
        for task in changed:
            self._task(before.tasks.get(task.id), task, after)
        self._told(before, after, changed)
        for key, record in after.rounds.items():
            if before.rounds.get(key) is not record:
                self._round(record, after)
        for name in sorted(after.versions.keys() - before.versions.keys()):
            self._version(name, after)
        for place, deployment in after.deployments.items():
            if before.deployments.get(place) is not deployment:
                self._deployment(deployment, after)

    def receipted(self, task: TaskId, digest: str, now: Tables) -> None:
        """The control plane acknowledges a delta."""
        record = now.tasks.get(task)
        committed = record is not None and record.state is TaskState.SUCCEEDED and record.delta is not None
        self.history.promise(committed, "acknowledged is committed", f"{task} is acknowledged, but not committed")
        assert record is not None and record.delta is not None
        promise = self.history.promise
        promise(
            record.delta.digest == digest, "first digest", f"the receipt of {task} names another delta than its row"
        )
        promise(self.receipts.setdefault(task, digest) == digest, "first digest", f"two receipts of {task} contradict")

    def restarted(self, now: Tables) -> None:
        """After a crash all that a row refers to is still there, with the bytes it had."""
        for task in now.tasks.values():
            if task.delta is not None and not now.rounds[task.run, task.round].state.final:
                self._whole(task.delta.digest, f"the delta of {task.id}")
        for version in now.versions.values():
            self._whole(version.parameters.digest, f"the parameters of {version.id}")
            if version.release is not None:
                self._whole(version.release.onnx.digest, f"model.onnx of {version.id}")

    def _final(
        self, what: str, before: Mapping[Any, Any], after: Mapping[Any, Any], final: Callable[[Any], bool]
    ) -> None:
        for key, old in before.items():
            new = after.get(key)
            if new is not old:
                self.history.promise(new is not None, "final", f"{what} {key} has vanished")
                changes = _changes(old, new) if final(old) else []
                self.history.promise(not changes, "final", f"{what} {key} was over, and changed: {changes}")

    def _task(self, old: TaskRecord | None, new: TaskRecord, after: Tables) -> None:
        if old is None:
            self.history.note("control", f"{new.id} to {new.device}, round {new.round} of {new.run}")
            twins = [t for t in after.tasks.values() if (t.run, t.round, t.device) == (new.run, new.round, new.device)]
            self.history.promise(len(twins) == 1, "one a round", f"{new.device} has two tasks in round {new.round}")
        elif old.state is not new.state:
            self.history.note("control", f"{new.id} {new.state} {new.reason}".rstrip())
            if new.delta is not None:
                self._blob(new.delta.digest, f"the delta of {new.id}")
        collecting = after.rounds[new.run, new.round].state is RoundState.COLLECTING
        legal = new.state is not TaskState.OPEN or (collecting and not after.runs[new.run].state.final)
        self.history.promise(legal, "open while collecting", f"{new.id} is open though its round does not collect")

    def _told(self, before: Tables, after: Tables, changed: list[TaskRecord]) -> None:
        """Whoever something changed for has a higher revision, unless it said so itself."""
        for task in changed:
            old = before.tasks.get(task.id)
            news = old is None or (old.state is TaskState.OPEN and task.state not in {TaskState.OPEN, *_BY_ITSELF})
            if news:
                self._raised(task.device, before, after)
        for key, deployment in after.deployments.items():
            if key not in before.deployments:
                self._raised(deployment.device, before, after)

    def _raised(self, device: DeviceId, before: Tables, after: Tables) -> None:
        was, now = before.devices[device].revision if device in before.devices else -1, after.devices[device].revision
        self.history.promise(
            now > was, "revision", f"something changed for {device}, whose revision is {now} as before"
        )

    def _round(self, record: Round, after: Tables) -> None:
        self.history.note("control", f"round {record.number} of {record.run} {record.state} {record.reason}".rstrip())
        by_hand = after.runs[record.run].state is RunState.CANCELLED
        in_vain = record.state is RoundState.ABANDONED and bool(record.frozen) and not by_hand
        sound = _SPOILT not in record.reason
        self.history.promise(sound and not in_vain, "no delta lost", f"round {record.number}: {record.reason}")
        if record.state is RoundState.MERGING:
            mine = sorted(
                (t for t in after.tasks.values() if (t.run, t.round) == (record.run, record.number)),
                key=lambda task: task.order,
            )
            reported = tuple(task.id for task in mine if task.state is TaskState.SUCCEEDED)
            self.history.promise(record.frozen == reported, "no delta lost", f"{record.frozen} frozen of {reported}")
            self.history.promise(len(reported) >= record.quorum, "quorum", f"{len(reported)} of {record.quorum}")
        if record.merged is not None:
            self._merge(record, after)

    def _merge(self, record: Round, after: Tables) -> None:
        promise = self.history.promise
        assert record.merged is not None
        version = after.versions[record.merged]
        made = [one for one in after.versions.values() if (one.run, one.round) == (record.run, record.number)]
        promise(made == [version], "one merge", f"round {record.number} of {record.run} made {len(made)} versions")
        deltas = []
        for name in record.frozen:
            promise(self.merged.setdefault(name, version.id) == version.id, "one merge", f"{name} is merged twice")
            task = after.tasks[name]
            assert task.delta is not None and task.metrics is not None
            promise(task.delta.digest in self.records.deltas, "known deltas", f"{name}: nobody made its delta")
            vector, maker, honest = self.records.deltas[task.delta.digest]
            examples = task.metrics.examples
            right = honest is None or examples in honest
            promise(right, "weights", f"{name} counts {examples} examples; {maker} has {honest}")
            promise(maker == task.device, "own deltas", f"{name} of {task.device} has a delta of {maker}")
            deltas.append((vector, examples))
        wanted = model.averaged(self.versions[record.base], deltas)
        self.versions[version.id] = wanted
        found = model.numbers(self._read(version.parameters.digest))
        same = all(abs(a - b) <= _TOLERANCE * (1 + abs(b)) for a, b in zip(found, wanted, strict=True))
        promise(same, "merged equals the model's", f"{version.id} holds {found}, FedAvg makes {wanted}")

    def _version(self, name: VersionId, after: Tables) -> None:
        version = after.versions[name]
        self.history.note("control", f"{name} is made")
        self._blob(version.parameters.digest, f"the parameters of {name}")
        if version.run is not None and version.round is not None:
            record = after.rounds[version.run, version.round]
            self.history.promise(
                record.merged == name, "one transaction", f"{name} is made, its round is {record.state}"
            )
        else:
            self.versions[name] = model.numbers(self._read(version.parameters.digest))

    def _deployment(self, told: DeploymentRecord, after: Tables) -> None:
        """What a box has told that it installed is there, durably, unless a newer one has taken its place."""
        self.history.note("control", f"{told.version} on {told.device} {told.state} {told.problem}".rstrip())
        disk = self.disk_of(told.device)
        if told.state is not DeploymentState.INSTALLED or disk is None:
            return
        newer = [
            after.versions[one.version].release
            for one in after.deployments.values()
            if (one.device, one.model) == (told.device, told.model) and one.generation >= told.generation
        ]
        current = disk.files / "models" / told.model / "current"
        place = current.resolve() / "model.onnx"
        whole = disk.safe(current) and disk.safe(place)
        self.history.promise(whole, "installed is on disk", f"{told.device} says {told.version} is installed")
        wanted = {release.onnx for release in newer if release is not None}
        right = digests.of_file(place) in wanted
        self.history.promise(right, "installed bytes", f"{told.device} has other bytes than {told.version}'s")

    def _blob(self, digest: Digest, what: str) -> None:
        safe = self.disk().safe(self._place(digest))
        self.history.promise(safe, "committed is on disk", f"{what} is referred to, but not safe")

    def _whole(self, digest: Digest, what: str) -> None:
        self._blob(digest, what)
        whole = digests.of_file(self._place(digest)).digest == digest
        self.history.promise(whole, "committed is on disk", f"{what} has other bytes than it had")

    def _read(self, digest: Digest) -> bytes:
        return self._place(digest).read_bytes()

    def _place(self, digest: Digest) -> Path:
        return self.disk().files / "blobs" / "objects" / digest[:2] / digest


def _changes(old: Any, new: Any) -> list[str]:
    """Name the fields that differ, but for what is counted of a task after its end."""
    return [
        f"{field.name} {getattr(old, field.name)} → {getattr(new, field.name)}"
        for field in fields(old)
        if getattr(old, field.name) != getattr(new, field.name) and field.name not in _COUNTED
    ]


def unended(now: Tables) -> list[RunId]:
    """List the runs that have not ended, nor say why."""
    return [run.id for run in now.runs.values() if not run.state.final and not run.reason]
