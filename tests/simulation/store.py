"""The database: the store in memory, which outlives the process that uses it, and fails it now and then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from headwater_control.ports import Busy

from tests.fakes.memory_store import MemoryStore, MemoryTransaction
from tests.fakes.memory_tables import Tables
from tests.simulation.loop import Crashed, Process
from tests.simulation.weather import Fate


class SimulatedStore:
    """The port `Store` for one process; `committed` is told of each commit, `troubled` of each failure."""

    def __init__(
        self,
        shared: MemoryStore,
        process: Process,
        fate: Fate,
        committed: Callable[[Tables, Tables], None],
        troubled: Callable[[], None],
    ) -> None:
        self._shared = shared
        self._process = process
        self._fate = fate
        self._committed = committed
        self._troubled = troubled

    @asynccontextmanager
    async def read(self) -> AsyncIterator[MemoryTransaction]:
        """Open a consistent view."""
        await self._reach()
        async with self._shared.read() as tx:
            yield tx

    @asynccontextmanager
    async def write(self) -> AsyncIterator[MemoryTransaction]:
        """Open a transaction."""
        weather = self._fate.weather
        await self._reach()
        async with self._shared.write() as tx:
            before = self._shared.tables
            yield tx
            if self._fate.strikes(weather.busy / 2):
                self._troubled()
                raise Busy("the commit failed")
            self._perhaps_die(weather.torn / 2)
        self._committed(before, self._shared.tables)
        self._perhaps_die(weather.torn / 2)
        if self._fate.strikes(weather.unsure):
            self._troubled()
            raise Busy("the connection broke during the commit")

    async def _reach(self) -> None:
        if not self._process.alive:
            raise Crashed
        weather = self._fate.weather
        if self._fate.strikes(weather.slow):
            await asyncio.sleep(self._fate.chance.random() * 3)
        if self._fate.strikes(weather.busy / 2):
            self._troubled()
            raise Busy("the database can't be reached")

    def _perhaps_die(self, probability: float) -> None:
        if self._process.alive and self._fate.strikes(probability):
            self._process.kill()
        if not self._process.alive:
            raise Crashed
