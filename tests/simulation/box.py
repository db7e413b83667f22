"""One edge box: the real agent, put together as its daemon does, over a simulated disk, link and child."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import aiomqtt
from headwater_agent.config import Address
from headwater_agent.core.events import ConditionsChanged, Connected, Event
from headwater_agent.core.session import Box as Facts
from headwater_agent.core.session import Session, Stage
from headwater_agent.core.telling import needed, sync_request
from headwater_agent.edges.cache import FolderCache
from headwater_agent.edges.journal import SqliteJournal
from headwater_agent.edges.link import Link
from headwater_agent.edges.models import FolderShelf
from headwater_agent.edges.spool import FolderSpool
from headwater_agent.edges.uplink import GrpcUplink
from headwater_agent.effects import Effects
from headwater_agent.shell import Shell
from headwater_agent.survey import Surveyor
from headwater_agent.training.protocol import DatasetConfig
from headwater_wire import topics
from headwater_wire.ids import DeviceId
from headwater_wire.messages import DatasetCard, Hello, Inventory

from tests.simulation import model
from tests.simulation.broker import Client, Will
from tests.simulation.calls import Channel
from tests.simulation.disk import Disk
from tests.simulation.ledger import Rows, SimulatedLedger
from tests.simulation.loop import Process
from tests.simulation.machine import Machine
from tests.simulation.worker import SimulatedWorker
from tests.support.signing import trust


@dataclass
class Box(Machine):
    """A device that lives, dies and lives again. `rows` is what its journal holds durably."""

    examples: int = 10
    step_s: float = 1.0
    cursed: bool = False
    brittle: bool = False
    rows: Rows = field(default_factory=dict)
    shell: Shell | None = None
    link: "SimulatedLink | None" = None

    @property
    def device(self) -> DeviceId:
        """Name it."""
        return DeviceId(self.name)

    async def live(self, process: Process, disk: Disk) -> None:
        """Be an agent until killed or cancelled."""
        commons, state = self.commons, disk.files

        def kept(before: Rows, after: Rows) -> None:
            self.rows = after
            commons.records.remembered(self.name, disk, before, after)

        ledger = SimulatedLedger(dict(self.rows), process, commons.fate, kept)
        journal = SqliteJournal(ledger, None)
        uplink = GrpcUplink(
            lambda: cast("Any", Channel(commons.network, commons.gateways, self.name, process)), self.device, trust()
        )
        worker = SimulatedWorker(
            commons.fate,
            commons.records,
            self.name,
            self.examples,
            self.step_s,
            self.cursed,
            process.kill if self.brittle else None,
        )
        dataset = DatasetConfig(model.DATASET, "npz", "/data", ())

        async def deliver(event: Event) -> None:
            if isinstance(event, Connected):
                surveyor.again()
            await shell.deliver(event)

        def changed(session: Session) -> None:
            link.pulse()

        link = SimulatedLink(
            Address("broker", 1883),
            self.device,
            journal=journal,
            registrar=_Registrar(self.name, lambda: surveyor.cards()),
            vitals=lambda: shell.vitals(effects.live),
            deliver=deliver,
            trust=trust(),
        )
        link.connect_by(lambda will: Client(commons.broker, self.name, process, will))
        surveyor = Surveyor((dataset,), lambda _: "unchanged", journal, worker, link, deliver)
        await surveyor.recall()
        shell = Shell(await journal.load(Facts(self.device, surveyor.facts())), journal, changed)
        commons.records.recalled(self.name, self.rows, {held.task.id for held in shell.session.held})
        spool = FolderSpool(state)
        await spool.sweep([held.task.id for held in shell.session.held if held.stage is Stage.SPOOLED])
        effects = Effects(
            uplink=uplink,
            cache=FolderCache(state / "cache", uplink),
            spool=spool,
            worker=worker,
            shelf=FolderShelf(state / "models"),
            link=link,
            journal=journal,
            datasets={dataset.name: dataset},
            request=lambda: sync_request(shell.session, epoch=link.epoch, hello_hash=link.hello_hash),
            needed=lambda ended: needed(shell.session, ended),
            wanted=lambda bundle: bundle.step.blobs,
            chance=commons.fate.chance.random,
        )
        self.shell, self.link = shell, link
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(shell.run(effects), name="agent.shell")
            tasks.create_task(link.run(), name="agent.link")
            tasks.create_task(surveyor.run(), name="agent.survey")
            tasks.create_task(self._watch(shell), name="agent.watch")

    async def _watch(self, shell: Shell) -> None:
        """Lose what training needs now and then, be it mains power, and have it again."""
        fate, waiting = self.commons.fate, False
        while True:
            await asyncio.sleep(fate.chance.random() * 60)
            before, waiting = waiting, fate.strikes(fate.weather.unfit)
            if waiting is not before:
                await shell.deliver(ConditionsChanged("no mains power" if waiting else ""))

    def stopped(self) -> None:
        """Note a stop in good order: whatever it trained goes on later."""
        self.commons.records.diary(self.name).stops += 1


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

    async def hello(self, epoch: int) -> Hello:
        """Tell."""
        return Hello(epoch, Inventory(hostname=self.name), (), self.cards(), ("portable",))
