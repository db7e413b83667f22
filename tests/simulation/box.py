"""One edge box: the real agent, put together as its daemon does, over a simulated disk, link and child."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import aiomqtt
from headwater_agent.clerk import Clerk
from headwater_agent.config import Address
from headwater_agent.core import maintenance, novelty
from headwater_agent.core.conditions import Readings
from headwater_agent.core.course import credited
from headwater_agent.core.events import ConditionsChanged, Connected, Event
from headwater_agent.core.session import Box as Facts
from headwater_agent.core.session import Session, Stage
from headwater_agent.core.status import Reach, Status, describe
from headwater_agent.core.telling import needed, sync_request
from headwater_agent.edges.cache import FolderCache
from headwater_agent.edges.journal import SqliteJournal
from headwater_agent.edges.link import Link
from headwater_agent.edges.maintenance import MaintenanceFile
from headwater_agent.edges.models import FolderShelf
from headwater_agent.edges.spool import FolderSpool
from headwater_agent.edges.uplink import GrpcUplink
from headwater_agent.effects import Effects
from headwater_agent.shell import Shell
from headwater_agent.survey import Surveyor
from headwater_agent.training.protocol import DatasetConfig
from headwater_agent.watch import Watch
from headwater_wire import topics
from headwater_wire.ids import DeviceId, TaskId
from headwater_wire.messages import Condition, DatasetCard, Hello, Inventory

from tests.simulation import model
from tests.simulation.allowance import CountedAllowance
from tests.simulation.broker import Client, Will
from tests.simulation.calls import Channel
from tests.simulation.disk import Disk
from tests.simulation.ledger import Rows, SimulatedLedger
from tests.simulation.loop import Process
from tests.simulation.machine import Machine
from tests.simulation.owner import Owner
from tests.simulation.person import Person
from tests.simulation.rules import Rules
from tests.simulation.surroundings import Surroundings
from tests.simulation.worker import SimulatedWorker, step_of
from tests.support.signing import trust

_LEAVE_S = 1.5  # as the daemon has it


@dataclass
class Box(Machine):
    """A device that lives, dies and lives again. `rows` is what its journal holds durably."""

    owner: Owner = field(kw_only=True)
    few: int = 10  # examples, at first
    step_s: float = 1.0
    cursed: bool = False
    brittle: bool = False
    rows: Rows = field(default_factory=dict)
    shell: Shell | None = None
    link: "SimulatedLink | None" = None
    effects: "SimulatedEffects | None" = None
    place: Surroundings = field(init=False)
    rules: Rules = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.place = Surroundings(self.commons.loop, self.commons.fate, self.owner, [self.few])
        self.rules = Rules(self.commons.history, self.name, self.place)

    @property
    def device(self) -> DeviceId:
        """Name it."""
        return DeviceId(self.name)

    async def live(self, process: Process, disk: Disk) -> None:
        """Be an agent until killed or cancelled."""
        commons, state, place = self.commons, disk.files, self.place
        self.shell = self.effects = None
        self.rules.starts()
        commons.records.diary(self.name).tries.starts(lambda task: step_of(disk, task))
        ledger = SimulatedLedger(dict(self.rows), process, commons.fate, partial(self._kept, disk), self.rules.hampered)
        journal = SqliteJournal(ledger, None)
        uplink = GrpcUplink(
            lambda: cast("Any", Channel(commons.network, commons.gateways, self.name, process)), self.device, trust()
        )
        worker = SimulatedWorker(
            commons.fate,
            commons.records,
            self.rules,
            place,
            disk,
            process,
            self.step_s,
            self.cursed,
            self.brittle,
        )
        dataset = DatasetConfig(model.DATASET, "npz", "/data", ())

        async def deliver(event: Event) -> None:
            if isinstance(event, Connected):
                surveyor.again()
            await shell.deliver(event)

        def changed(session: Session) -> None:
            link.pulse()

        def look() -> Readings:
            self.rules.looked()
            return place.read()

        def read() -> Awaitable[Readings]:
            return asyncio.to_thread(look)

        def locked() -> str:
            return maintenance.objection(lock.read(), now=place.instant())

        link = SimulatedLink(
            Address("broker", 1883),
            self.device,
            journal=journal,
            registrar=_Registrar(
                self.name, lambda: novelty.told(shell.session, surveyor.cards()), lambda: watch.conditions()
            ),
            vitals=lambda: shell.vitals(effects.live),
            deliver=deliver,
            trust=trust(),
        )
        link.connect_by(lambda will: Client(commons.broker, self.name, process, will))
        lock = MaintenanceFile(state)
        watch = Watch(self.owner.wanted, read, link, deliver, self.owner.every_s, locked)
        surveyor = Surveyor((dataset,), lambda _: place.fingerprint, journal, worker, link, deliver)
        await surveyor.recall()
        await watch.begin()
        facts = Facts(
            self.device,
            surveyor.facts(),
            min_new_examples=self.owner.min_new_examples,
            waiting=watch.standing.waiting,
            quota=self.owner.quota,
        )
        spool, session = FolderSpool(state), await journal.load(facts)
        session = credited(session, {held.task.id: await spool.reached(held.task.id) for held in session.held})
        shell = Shell(session, journal, changed)
        commons.records.recalled(self.name, self.rows, {held.task.id for held in shell.session.held})
        spooled = [held.task.id for held in shell.session.held if held.stage is Stage.SPOOLED]
        begun = [held.task.id for held in shell.session.held if held.task.id not in spooled]
        before = {task: step_of(disk, task) for task in begun}
        await spool.sweep(spooled, begun)
        commons.records.swept(self.name, before, {task: step_of(disk, task) for task in begun})
        effects = SimulatedEffects(
            uplink=uplink,
            cache=FolderCache(state / "cache", uplink),
            spool=spool,
            worker=worker,
            shelf=FolderShelf(state / "models"),
            link=link,
            journal=journal,
            datasets={dataset.name: dataset},
            request=lambda: sync_request(
                shell.session, epoch=link.epoch, hello_hash=link.hello_hash, hello=link.unknown
            ),
            needed=lambda ended: needed(shell.session, ended),
            wanted=lambda bundle: bundle.step.blobs,
            counted=surveyor.examples,
            thrift=self.owner.thrift,
            unsuited=lambda: watch.unmet("network"),
            allowance=CountedAllowance(disk, self.rules) if self.owner.upload_bytes else None,
            chance=commons.fate.chance.random,
        )

        def status() -> Status:
            reach = Reach("broker", "gateway", connected=link.connected, synced_s=None)
            return describe(shell.session, effects.live, reach, at_s=asyncio.get_running_loop().time())

        clerk = Clerk(state, "", status, watch.again, lambda: None, place.instant)
        person = Person(commons.fate, commons.history, self.name, place, clerk, surveyor)
        self.shell, self.link, self.effects = shell, link, effects
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(shell.run(effects), name="agent.shell")
            tasks.create_task(link.run(), name="agent.link")
            tasks.create_task(surveyor.run(), name="agent.survey")
            tasks.create_task(watch.run(), name="agent.watch")
            tasks.create_task(person.live(), name="person")

    async def leave(self) -> None:
        """Have a training stop where it is, as the daemon does."""
        self.commons.records.diary(self.name).tries.leaves()
        if self.shell is not None and self.effects is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_S):
                    await self.shell.deliver(ConditionsChanged("the agent stops"))
                    await self.effects.trainings.ended()

    def _kept(self, disk: Disk, before: Rows, after: Rows) -> None:
        """See what the journal holds from now on."""
        self.rows = after
        self.commons.records.remembered(self.name, disk, before, after)
        fact = self.shell.session.dataset(model.DATASET) if self.shell else None
        asked = self.effects.asked if self.effects else frozenset()
        self.rules.remembered(before, after, asked, fact.examples if fact else None)


class SimulatedEffects(Effects):
    """The real ones; `asked` is what the machine was told of uploads last."""

    asked: frozenset[TaskId] = frozenset()

    @property
    def uploading(self) -> frozenset[TaskId]:
        """Name the tasks whose deltas are being sent."""
        self.asked = super().uploading
        return self.asked


class SimulatedLink(Link):
    """The real link, but for whom it connects by."""

    def connect_by(self, make: Callable[[Will], Client]) -> None:
        """Use clients of the simulated broker."""
        self._make = make

    def _new_client(self) -> aiomqtt.Client:
        will = Will(topics.up(self._device, "presence"), self._state(online=False))
        return cast("aiomqtt.Client", self._make(will))


@dataclass(frozen=True)
class _Registrar:
    """The `Registrar` port."""

    name: str
    cards: Callable[[], tuple[DatasetCard, ...]]
    conditions: Callable[[], tuple[Condition, ...]]

    async def hello(self, epoch: int) -> Hello:
        """Tell."""
        return Hello(
            epoch, Inventory(hostname=self.name), (), self.cards(), ("portable",), conditions=self.conditions()
        )
