"""The control plane: its real gates, services and coordinator, put together as its server does."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from headwater_control.core.runs import RunState
from headwater_control.edges.blobs import FolderBlobs
from headwater_control.edges.publisher import MqttPublisher
from headwater_control.gates.grpc import GrpcGate
from headwater_control.gates.mqtt import MqttGate
from headwater_control.gates.peers import Peers
from headwater_control.ports import Keyring
from headwater_control.service.bells import Bells
from headwater_control.service.coordinator import Coordinator
from headwater_control.service.world import Settings, World
from headwater_wire.ids import DeviceId
from headwater_wire.signing import Signer

from tests.fakes.clock import START
from tests.fakes.ids import FakeIds
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_tables import Tables
from tests.simulation.broker import GATE, Client, ControlLink
from tests.simulation.disk import Disk
from tests.simulation.loop import Process
from tests.simulation.machine import Machine
from tests.simulation.offload import SimulatedOffload
from tests.simulation.promises import Promises
from tests.simulation.store import SimulatedStore
from tests.support.signing import SIGNER


@dataclass(frozen=True)
class Limits:
    """How patient this world's control plane is."""

    heartbeat_idle_s: int = 60
    presence_grace_s: float = 15.0
    silence_s: float = 90.0
    lease_ttl_s: float = 24.0


@dataclass
class Control(Machine):
    """`shared` is the database; `wrong_s` how far the clock on its wall is off."""

    shared: MemoryStore = field(default_factory=MemoryStore)
    limits: Limits = field(default_factory=Limits)
    broker_vouches: bool = True
    disk_of: Callable[[DeviceId], Disk | None] = lambda device: None
    wrong_s: float = 0.0
    world: World | None = None
    promises: Promises = field(init=False)
    troubled_s: float = 0.0  # when it last started, or was failed by its database
    _ids: FakeIds = field(default_factory=FakeIds)
    _holder: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.promises = Promises(self.commons.history, self.commons.records, lambda: self.disk, self.disk_of)

    def _died(self) -> None:
        super()._died()
        self.world = None

    def meet_trouble(self) -> None:
        """Note that something has kept it from its work: it may be late for a while."""
        self.troubled_s = self.commons.loop.now_s

    def now(self) -> datetime:
        """Tell the time by its clock."""
        return START + timedelta(seconds=self.commons.loop.now_s + self.wrong_s)

    def open(self, process: Process, disk: Disk) -> World:
        """Put the world together that its services work with."""
        clock = _Clock(self)
        link = ControlLink("broker", 1883, make=lambda role: Client(self.commons.broker, role, process))
        return World(
            store=SimulatedStore(self.shared, process, self.commons.fate, self._committed, self.meet_trouble),
            blobs=FolderBlobs(disk.files / "blobs", lambda: self.commons.loop.now_s),
            offload=SimulatedOffload(self.commons.fate, self.meet_trouble),
            publisher=MqttPublisher(link, lambda: SIGNER),
            clock=clock,
            ids=self._ids,
            issuer=cast("Any", None),  # nobody enrols
            keyring=cast("Keyring", _Keyring()),
            bells=Bells(clock),
            settings=Settings(
                work_dir=disk.files / "work",
                heartbeat_idle_s=self.limits.heartbeat_idle_s,
                presence_grace_s=self.limits.presence_grace_s,
                silence_s=self.limits.silence_s,
                lease_ttl_s=self.limits.lease_ttl_s,
                broker_vouches=self.broker_vouches,
            ),
        )

    async def live(self, process: Process, disk: Disk) -> None:
        """Serve until killed or cancelled."""
        self.promises.restarted(self.shared.tables)
        self.meet_trouble()
        world = self.open(process, disk)
        self.commons.records.server = lambda: int(self.now().timestamp() * 1000)
        await self._void_leases()
        self._holder = f"{self.name}-{self.lives}"
        link = ControlLink("broker", 1883, make=lambda role: Client(self.commons.broker, role, process))
        coordinator = Coordinator(world, self._holder)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(cast("MqttPublisher", world.publisher).run(), name="publisher")
                tasks.create_task(MqttGate(world, link).run(), name=GATE)
                tasks.create_task(coordinator.run(), name="coordinator")
                self.world = world
                self.commons.gateways.open(GrpcGate(world, Peers(world.roll, certified=False)), process)
        finally:
            if process.alive:
                self.commons.gateways.close()

    def _committed(self, before: Tables, after: Tables) -> None:
        self.promises.committed(before, after)

    async def _void_leases(self) -> None:
        """End those of the process that was here before, as the server does."""
        async with self.shared.write() as tx:
            for run in await tx.runs.all((RunState.RUNNING, RunState.PAUSED)):
                await tx.runs.lead(run.id, self._holder, self.now(), 0.0)


@dataclass(frozen=True)
class _Clock:
    """The port `Clock`: a clock on the wall that somebody may set, and waits that do not care."""

    control: Control

    def now(self) -> datetime:
        """Tell the time."""
        return self.control.now()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class _Keyring:
    """Of the port `Keyring` what the gates use, with one key."""

    def signer(self, now: datetime) -> Signer:
        """Give it."""
        return SIGNER
