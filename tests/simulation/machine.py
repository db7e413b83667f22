"""A machine on which one program runs: it loses power, comes back, and finds what its disk has kept."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.blame import of_the_disk, told
from tests.simulation.broker import Broker
from tests.simulation.calls import Gateways
from tests.simulation.disk import Disk, Disks, broken, full
from tests.simulation.history import History
from tests.simulation.loop import Crashed, Process, SimulatedLoop
from tests.simulation.network import Network
from tests.simulation.records import Records
from tests.simulation.weather import Fate

_STOP_WITHIN_S = 30.0


@dataclass
class Commons:
    """What all machines of a world share."""

    loop: SimulatedLoop
    fate: Fate
    history: History
    disks: Disks
    network: Network
    broker: Broker
    gateways: Gateways
    records: Records


@dataclass
class Machine:
    """`live` is its program, given by who inherits."""

    commons: Commons
    name: str
    disk: Disk = field(init=False)
    process: Process | None = None
    lives: int = 0
    pace: float = 1.0
    retired: bool = False  # it stays dead

    def __post_init__(self) -> None:
        self.disk = self._watched(self.commons.disks.new(self.name))

    async def live(self, process: Process, disk: Disk) -> None:
        """Run the program until it is cancelled."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Do what comes before a stop in good order."""

    @property
    def alive(self) -> bool:
        """Say whether its program runs."""
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Switch it on, if it is off; its monotonic clock begins where it likes."""
        if self.alive:
            return
        loop, chance = self.commons.loop, self.commons.fate.chance
        self.lives += 1
        process = Process(loop, self.name, zero_s=loop.now_s - chance.random() * 1000, pace=self.pace)
        process.died.append(self._died)
        self.process = process
        self.commons.history.note(self.name, f"starts, life {self.lives}")
        self._main = process.start(self._run(process, self.disk), f"{self.name}.main")

    def lose_power(self) -> None:
        """Die here and now."""
        if self.process is not None:
            self.process.kill()

    async def stop(self) -> None:
        """End in good order, as SIGTERM would have it; by force if it does not end, or who stops it is stopped."""
        process = self.process
        if process is None or not process.alive:
            return
        self.commons.history.note(self.name, "is stopped")
        try:
            await asyncio.wait([process.start(self.leave(), f"{self.name}.leaves")], timeout=_STOP_WITHIN_S)
            self._main.cancel()
            await asyncio.wait([self._main], timeout=_STOP_WITHIN_S)
            self.commons.history.promise(self._main.done() or not process.alive, "stops", f"{self.name} does not stop")
        finally:
            process.kill()

    async def _run(self, process: Process, disk: Disk) -> None:
        """Live; what ends a life by itself is a bug, unless the disk could not be written at its start."""
        try:
            await self.live(process, disk)
        except (Crashed, asyncio.CancelledError):
            raise
        except BaseException as error:
            if not process.alive:
                return
            if not of_the_disk(error):
                self.commons.history.break_off("no bug", f"{self.name} ended by {told(error)}")
            self.commons.history.note(self.name, f"gives up: {told(error)}")
            process.kill()

    def _died(self) -> None:
        if self.retired:
            return
        self.commons.history.note(self.name, "dies")
        self.disk = self._watched(self.commons.disks.after_power_loss(self.disk, f"{self.name} {self.lives}"))
        self.process = None
        self.commons.loop.later(self._down_s(), self.start)

    def _down_s(self) -> float:
        """Draw how long it stays dark: mostly for a reboot, sometimes for minutes."""
        chance = self.commons.fate.chance
        return 1 + chance.random() * (120 if chance.random() < 0.2 else 5)

    def _watched(self, disk: Disk) -> Disk:
        disk.before_fsync = self._before_fsync
        disk.after_fsync = self._after_fsync
        return disk

    def _before_fsync(self, path: Path) -> None:
        fate = self.commons.fate
        self._perhaps_die()
        if self.alive and fate.strikes(fate.weather.disk):
            raise full() if fate.chance.random() < 0.5 else broken()

    def _after_fsync(self, path: Path) -> None:
        self._perhaps_die()

    def _perhaps_die(self) -> None:
        fate = self.commons.fate
        if self.process is not None and fate.strikes(fate.weather.torn / 2):
            self.process.kill()
            raise Crashed
