"""Records to fill a store with: each valid, and each what a test does not care about left at a default."""

from datetime import UTC, datetime, timedelta

from headwater_control.core.fleet import Device
from headwater_control.core.models import Model
from headwater_control.core.rollout import DeploymentRecord, DeploymentState, Rollout, RolloutState
from headwater_control.core.runs import Round, RoundState, Run, RunSpec, RunState, TaskRecord, TaskState
from headwater_control.ports import Labels, Transaction
from headwater_wire.ids import DeviceId, Digest, ModelName, RolloutId, RunId, TaskId, VersionId
from headwater_wire.messages import Blob

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
DIGITS = ModelName("digits")
FIRST = VersionId("digits-1")
RUN = RunId("run-1")
BOX = DeviceId("box-1")
ROLLOUT = RolloutId("rollout-1")


def later(seconds: float) -> datetime:
    """Give a time after NOW."""
    return NOW + timedelta(seconds=seconds)


def blob(letter: str) -> Blob:
    """Make a blob of a one-letter digest."""
    return Blob(Digest(letter * 64), 100 + ord(letter))


def device(name: str = BOX, labels: Labels = (), **more: object) -> Device:
    """Make a device."""
    return Device(DeviceId(name), NOW, labels, **more)  # type: ignore[arg-type]  # a test's own fields


def model(name: str = DIGITS) -> Model:
    """Make a model."""
    return Model(ModelName(name), blob("a"), blob("b"), "cross_entropy", 1000, NOW)


def run(name: str = RUN, state: RunState = RunState.RUNNING, at: datetime = NOW) -> Run:
    """Make a run of digits."""
    return Run(RunId(name), RunSpec(DIGITS, "digits", FIRST), state, FIRST, 1, at)


def round_(number: int = 1, state: RoundState = RoundState.COLLECTING, of: str = RUN) -> Round:
    """Make a round."""
    return Round(RunId(of), number, state, FIRST, False, NOW)


def task(name: str, order: int = 0, *, box: str = BOX, number: int = 1, at: datetime = NOW) -> TaskRecord:
    """Make an open task."""
    return TaskRecord(TaskId(name), RUN, number, DeviceId(box), order, TaskState.OPEN, at, later(600))


def rollout(name: str = ROLLOUT, generation: int = 1, of: str = DIGITS, at: datetime = NOW) -> Rollout:
    """Make a running rollout of a model's first version."""
    version = VersionId(f"{of}-1")
    return Rollout(RolloutId(name), ModelName(of), version, (), generation, RolloutState.RUNNING, at)


def deployment(of: Rollout, box: str = BOX) -> DeploymentRecord:
    """Make a pending deployment of a rollout."""
    return DeploymentRecord(
        of.id, DeviceId(box), of.model, of.version, of.generation, DeploymentState.PENDING, of.created_at
    )


async def add_training(tx: Transaction, *boxes: str) -> None:
    """Add devices (box-1, if none is named), the model with its first version, the run and its first round."""
    for box in boxes or (BOX,):
        await tx.devices.save(device(box))
    await add_model(tx)
    await tx.runs.add(run())
    await tx.runs.save_round(round_())


async def add_model(tx: Transaction, name: str = DIGITS) -> None:
    """Add a model with its first version."""
    await tx.models.add(model(name))
    await tx.models.add_version(ModelName(name), blob("c"), parent=None, run=None, round_number=None, at=NOW)
