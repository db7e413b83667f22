"""The fleet of one history: set up, let loose, repaired, and looked at until all has ended well."""

import asyncio
from contextlib import suppress
from random import Random
from typing import Any

import grpc
from headwater_control.core.rollout import DeploymentState
from headwater_control.core.runs import RoundState, RunSpec, TaskState
from headwater_control.service import models, runs
from headwater_control.service.world import World
from headwater_wire import convert
from headwater_wire.ids import TaskId
from headwater_wire.messages import ReceiptKind

from tests.fakes.memory_store import MemoryStore
from tests.simulation import model
from tests.simulation.box import Box
from tests.simulation.broker import Broker
from tests.simulation.calls import Gateways
from tests.simulation.control import Control
from tests.simulation.disk import Disks
from tests.simulation.history import Broken, History
from tests.simulation.loop import Process, SimulatedLoop
from tests.simulation.machine import Commons
from tests.simulation.network import Network, Way
from tests.simulation.owner import drawn as drawn_owner
from tests.simulation.promises import unended
from tests.simulation.records import Records
from tests.simulation.stranger import NAME as STRANGER
from tests.simulation.stranger import Stranger
from tests.simulation.trouble import Trouble
from tests.simulation.weather import CLEAR, Fate, drawn

_LOOK_EVERY_S = 5.0
_READY_WITHIN_S = 120.0
_LAST_ROUNDS = 20  # of cancelling; who catches the first may hear the second
_LATE_S = 75.0  # after trouble: a lease, the longest pause of a coordinator, a merge
_UNSEEN_S = 5.0 + 180.0 + 120.0  # until the broker, then the control plane has given a dead box up


class Fleet:
    """A control plane, its boxes, and what befalls them."""

    def __init__(self, chance: Random, loop: SimulatedLoop, history: History, disks: Disks, agents: int) -> None:
        self.weather = drawn(chance)
        self.fate = Fate(chance, CLEAR)
        self.history = history
        self.loop = loop
        store = MemoryStore()
        network = Network(loop, self.fate, history)
        records = Records(history, store, not self.weather.jumps_s, not self.weather.disk)
        self.commons = Commons(loop, self.fate, history, disks, network, Broker(network), Gateways(), records)
        self.store = store
        number = agents or 3 + int(chance.random() ** 2 * 6)
        self.boxes = [self._box(place) for place in range(number)]
        by_name = {box.name: box for box in self.boxes}
        self.control = Control(
            self.commons,
            "control",
            shared=store,
            disk_of=lambda device: by_name[device].disk if device in by_name else None,
            broker_vouches=chance.random() < 0.5,
        )
        self.trouble = Trouble(self.commons, self.control, self.boxes)
        self.spec = self._spec(number)
        self.commons.gateways.sends = lambda box, task: by_name[box].rules.sends(task) if box in by_name else None
        self.commons.gateways.answered = self._answered
        self.commons.gateways.refused = self._refused
        self.gone: dict[str, float] = {}

    async def run(self) -> None:
        """Set up, let trouble happen, then have everything end well."""
        loop, fate, chance = self.loop, self.fate, self.fate.chance
        self.history.note("world", f"{self.weather} {self.spec}")
        self.control.start()
        await self._until(lambda: self.control.world is not None, _READY_WITHIN_S, "the control plane does not start")
        await self.trouble.ask(self._import)
        for box in self.boxes:
            loop.later(chance.random() * 10, box.start)
        await self._until(self._registered, _READY_WITHIN_S, "the boxes do not register")
        for _ in range(2 if chance.random() < 0.2 else 1):
            started = await self.trouble.ask(self._start)
            self.history.promise(started, "no bug", "the run can't be started")
        fate.weather = self.weather
        loop.falls = self.weather.falls
        background = [
            loop.create_task(coroutine)
            for coroutine in (self.trouble.outages(), self.trouble.jumps(), self.trouble.operator())
        ]
        if chance.random() < 0.5:
            process = Process(loop, STRANGER)
            background.append(process.start(Stranger(self.commons, self.store, process).live(), STRANGER))
        rough_s = 40 + chance.random() * 160
        for _ in range(int(rough_s / _LOOK_EVERY_S)):
            await asyncio.sleep(_LOOK_EVERY_S)
            self._look()
        fate.calm()
        loop.falls = 0.0
        self.history.note("world", "from here on nothing goes wrong")
        for task in background:
            task.cancel()
        self.trouble.clear_up()
        await self._until(lambda: self.control.world is not None, _READY_WITHIN_S, "the control plane does not start")
        await self.trouble.rest()
        await self._resume_all()
        bound_s = (self.spec.rounds + 2) * (self.spec.round_deadline_s + _LATE_S) + 600
        await self._until(self._settled, bound_s, "not all ends well")

    def end(self) -> None:
        """Check what must be true when all is over."""
        self._look()
        for box in self.boxes:
            left = sorted(place.name for place in (box.disk.files / "spool").iterdir())
            left += sorted(place.name for place in (box.disk.files / "work").iterdir())
            self.history.promise(not left, "the spool drains", f"{box.name} still has {left}")
        self.history.promise(not self.loop.troubles, "no bug", f"nobody caught {self.loop.troubles}")

    def bury(self) -> None:
        """End everybody, so that nothing is left to be collected in the middle of another history."""
        self.fate.calm()
        self.loop.falls = 0.0
        for machine in (self.control, *self.boxes):
            machine.retired = True
            machine.lose_power()
        for _ in range(_LAST_ROUNDS):
            if not (left := asyncio.all_tasks(self.loop)):
                return
            for task in left:
                task.cancel()
            with suppress(asyncio.CancelledError):
                self.loop.run_until_complete(asyncio.sleep(_LOOK_EVERY_S))

    def _box(self, place: int) -> Box:
        chance = self.fate.chance
        return Box(
            self.commons,
            f"box-{place}",
            pace=chance.uniform(0.99, 1.01) if chance.random() < 0.5 else 1.0,
            owner=drawn_owner(chance),
            few=1 + int(chance.random() * 100),
            step_s=0.1 + chance.random() ** 4 * 20,
            cursed=chance.random() < self.weather.sick / 3,
            brittle=chance.random() < self.weather.sick,
        )

    def _spec(self, boxes: int) -> RunSpec:
        chance = self.fate.chance
        return RunSpec(
            model.NAME,
            model.DATASET,
            rounds=1 + int(chance.random() * 3),
            clients_per_round=chance.choice((0, 0, 1, max(1, boxes // 2), boxes)),
            over_select=chance.choice((1.0, 1.3, 2.0)),
            quorum=chance.choice((0.3, 0.5, 1.0)),
            round_deadline_s=chance.choice((20.0, 60.0, 200.0)),
            progress_deadline_s=chance.choice((40.0, 120.0)),
            seed=int(chance.random() * 1000),
            reproducible=chance.random() < 0.25,
        )

    async def _import(self, world: World) -> None:
        source = self.commons.disks.root / "digits.onnx"
        source.write_bytes(b"a graph\n")
        await models.import_model(world, model.NAME, source, loss="cross_entropy")

    async def _start(self, world: World) -> None:
        await runs.start(world, self.spec)

    async def _resume(self, world: World) -> None:
        for run in await runs.list_runs(world):
            if not run.state.final:
                await runs.resume(world, run.id)

    async def _resume_all(self) -> None:
        ends_s = self.loop.now_s + _READY_WITHIN_S
        while not await self.trouble.ask(self._resume):  # it may be going down just now, as it was asked to before
            self.history.promise(self.loop.now_s < ends_s, "ends well", "the runs can't be resumed")
            await asyncio.sleep(1.0)

    async def _until(self, done: Any, within_s: float, complaint: str) -> None:
        ends_s = self.loop.now_s + within_s
        while (told := done()) is not True:
            self._look()
            self.history.promise(self.loop.now_s < ends_s, "ends well", f"{complaint} in {within_s:g} s: {told}")
            await asyncio.sleep(_LOOK_EVERY_S if self.loop.now_s > 60 else 1.0)

    def _registered(self) -> bool:
        devices = self.store.tables.devices
        ready = [box for box in self.boxes if box.device in devices and not devices[box.device].datasets[0].problem]
        return len(ready) == len(self.boxes)

    def _settled(self) -> bool | str:
        """Say whether all runs are over and all boxes at rest; if not, what is missing."""
        now = self.store.tables
        if running := [run.id for run in now.runs.values() if not run.state.final]:
            return f"{running} go on; {len(unended(now))} do not say why"
        for told in now.deployments.values():
            if told.state is DeploymentState.PENDING and told.device != STRANGER:
                return f"{told.version} is still to be installed on {told.device}"
        for box in self.boxes:
            session, device = (box.shell.session if box.shell else None), now.devices[box.device]
            if not box.alive or session is None or box.link is None or not box.link.connected:
                return f"{box.name} is away"
            if session.box.waiting and not box.place.forbidden():
                return f"{box.name} trains nothing: {session.box.waiting}"
            if session.held or session.reports or session.install_reports:
                return f"{box.name} holds {[h.task.id for h in session.held]} and has {len(session.reports)} reports"
            if device.hello_hash != box.link.hello_hash:
                return f"{box.name} is known by an older registration"
            if session.revision != device.revision or not device.online:
                return f"{box.name} holds revision {session.revision} of {device.revision}, online {device.online}"
        return True

    def _look(self) -> None:
        """Look at what time alone breaks: a round that waits for longer than it may."""
        if self.history.broken:
            raise Broken(self.history.broken)
        now = self.store.tables
        for box in self.boxes:
            if box.alive and self.commons.network.way(box.name) is Way.OPEN:
                self.gone.pop(box.name, None)
            else:
                self.gone.setdefault(box.name, self.loop.now_s)
        if self.control.world is None:
            self.control.meet_trouble()
        for (run, number), record in now.rounds.items():
            if record.state is not RoundState.COLLECTING or record.deadline is None:
                continue
            late_s = (self.control.now() - record.deadline).total_seconds()
            late_s = min(late_s, self.loop.now_s - self.control.troubled_s)
            self.history.promise(late_s < _LATE_S, "deadline", f"round {number} of {run} is {late_s:.0f} s late")
            open_tasks = [t for t in now.tasks.values() if (t.run, t.round, t.state) == (run, number, TaskState.OPEN)]
            since = [self.gone.get(task.device, self.loop.now_s) for task in open_tasks if task.device != STRANGER]
            waits_s = self.loop.now_s - max([self.control.troubled_s, *since])
            dead = len(since) == len(open_tasks) and not self.spec.reproducible and waits_s > _UNSEEN_S + _LATE_S
            self.history.promise(not dead, "waits for the dead", f"round {number} of {run} waits since {waits_s:.0f} s")

    def _answered(self, method: str, asked: Any, said: Any) -> None:
        """Hear what the gate says, at the moment it says it."""
        if method == "UploadDelta" and said.resume_at:
            self.history.note("control", f"the upload of {asked.offer.task} goes on at byte {said.resume_at}")
        elif method == "UploadDelta" and said.WhichOneof("reply") == "receipt":
            receipt = convert.receipt_from(said.receipt)
            self.history.note("control", f"receipt for {asked.offer.task}: {receipt.kind} {receipt.reason}".rstrip())
            if receipt.kind is ReceiptKind.COMMITTED:
                self.control.promises.receipted(TaskId(asked.offer.task), receipt.digest, self.store.tables)

    def _refused(self, method: str, code: grpc.StatusCode, why: str) -> None:
        self.history.note("control", f"{method} refused: {code.name}: {why}")
        self.history.promise(code is not grpc.StatusCode.INTERNAL, "no bug", f"{method} ended in INTERNAL")
