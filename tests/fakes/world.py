"""A control plane without a gate, and boxes that talk to its services."""

from dataclasses import dataclass, field
from pathlib import Path

from headwater_control.core.models import Model, Version
from headwater_control.edges import ca
from headwater_control.edges.keyring import Keyring
from headwater_control.ports import Blobs, Publisher, Store
from headwater_control.service import deltas, devices, models
from headwater_control.service.bells import Bells
from headwater_control.service.sync import sync
from headwater_control.service.world import Settings, World
from headwater_wire import digests
from headwater_wire.ids import DeviceId, ModelName
from headwater_wire.messages import (
    Blob,
    Column,
    Condition,
    DatasetCard,
    DeploymentReport,
    Evaluated,
    HeldTask,
    Hello,
    Inventory,
    Metrics,
    Offer,
    Receipt,
    SyncAnswer,
    SyncRequest,
    Task,
    TaskReport,
)

from tests.fakes.clock import FakeClock
from tests.fakes.ids import FakeIds
from tests.fakes.memory_blobs import MemoryBlobs
from tests.fakes.memory_store import MemoryStore
from tests.fakes.offload import FakeOffload
from tests.fakes.publisher import FakePublisher

MODEL = ModelName("digits")
DIGITS = DatasetCard("digits", 100, (Column("x", "float32", (4,)), Column("label", "int64", ())))
METRICS = Metrics(examples=10, train_loss=0.5, holdout_examples=4, holdout_loss=0.7, holdout_correct=3, seconds=1.0)


def fake_world(
    scratch: Path,
    *,
    clock: FakeClock | None = None,
    store: Store | None = None,
    publisher: Publisher | None = None,
    blobs: Blobs | None = None,
) -> World:
    """Put a world together: in memory, but for what is given."""
    clock = clock or FakeClock()
    return World(
        store=store or MemoryStore(),
        blobs=blobs or MemoryBlobs(scratch),
        offload=FakeOffload(),
        publisher=publisher or FakePublisher(),
        clock=clock,
        ids=FakeIds(),
        issuer=ca.embedded(scratch / "ca", clock.now()),
        keyring=Keyring(scratch / "keys", clock.now()),
        bells=Bells(clock),
        settings=Settings(work_dir=scratch / "work"),
    )


async def import_digits(world: World, scratch: Path) -> tuple[Model, Version]:
    """Import the model of these tests."""
    path = scratch / "digits.onnx"
    path.write_bytes(b"a graph\n")
    imported = await models.import_model(world, "digits", path, loss="cross_entropy")
    return imported.model, imported.version


@dataclass
class Box:
    """One device, driven by hand: what it holds is what the last Sync said."""

    world: World
    name: str
    labels: dict[str, str] = field(default_factory=dict)
    datasets: tuple[DatasetCard, ...] = (DIGITS,)
    engines: tuple[str, ...] = ("native",)
    conditions: tuple[Condition, ...] = ()
    epoch: int = 1
    revision: int = 0
    tasks: tuple[Task, ...] = ()

    @property
    def id(self) -> DeviceId:
        """Its id."""
        return DeviceId(self.name)

    def hello(self) -> Hello:
        """Say what it is."""
        labels = tuple(sorted(self.labels.items()))
        inventory = Inventory(hostname=self.name)
        return Hello(self.epoch, inventory, labels, self.datasets, self.engines, conditions=self.conditions)

    async def register(self) -> "Box":
        """Connect: birth and hello."""
        await devices.presence(self.world, self.id, True, self.epoch, 1)
        await devices.register(self.world, self.id, self.hello(), self.hello_hash())
        return self

    def hello_hash(self) -> str:
        """Digest its hello, as an agent would."""
        return digests.of_bytes(repr(self.hello()).encode()).digest

    async def sync(
        self,
        *reports: TaskReport,
        held: tuple[HeldTask, ...] = (),
        deployments: tuple[DeploymentReport, ...] = (),
    ) -> SyncAnswer:
        """Ask what it should hold, and hold that."""
        request = SyncRequest(self.id, self.epoch, self.revision, self.hello_hash(), held, reports, deployments)
        answer = await sync(self.world, request)
        self.revision, self.tasks = answer.revision, answer.tasks
        return answer

    def offer(self, task: Task, data: bytes, metrics: Metrics = METRICS, codec: str = "f32") -> Offer:
        """Offer a delta."""
        return Offer(self.id, task.id, digests.of_bytes(data), codec, metrics)

    async def upload(self, task: Task, data: bytes | None = None, metrics: Metrics = METRICS) -> Receipt:
        """Offer a delta, and send it if it is wanted."""
        data = f"{self.name} {task.round}".encode() if data is None else data
        offer = self.offer(task, data, metrics)
        answer = await deltas.offer(self.world, offer)
        if isinstance(answer, Receipt):
            return answer
        async with self.world.blobs.stage(task.id, offer.delta) as staging:
            await staging.write(data)
            return await deltas.commit(self.world, offer, answer, staging)

    async def work(self) -> None:
        """Sync, then do every task."""
        for task in (await self.sync()).tasks:
            if task.plan.train:
                await self.upload(task)
            else:
                await self.sync(TaskReport(task.id, Evaluated(METRICS)))


def flip(world: World, blob: Blob) -> bytes:
    """Let the disk flip a bit of a blob; give what it was."""
    assert isinstance(world.blobs, MemoryBlobs)
    whole = world.blobs.objects[blob.digest]
    world.blobs.objects[blob.digest] = whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:]
    return whole


async def read_blob(world: World, blob: Blob) -> bytes:
    """Give a blob's bytes."""
    return b"".join([chunk async for chunk in world.blobs.read(blob.digest)])
