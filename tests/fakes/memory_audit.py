"""The audit log of the store in memory."""

from datetime import datetime

from headwater_control.core.audit import START, Caller, Deed, Entry, Head, sealed

from tests.fakes.memory_tables import Tables


class MemoryAudit:
    """The audit log."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def append(self, done: Deed, caller: Caller, at: datetime) -> Entry:
        entry = sealed(await self.head(), done, caller, at)
        self._tables.change().audit.append(entry)
        return entry

    async def entries(self, after: int, limit: int) -> tuple[Entry, ...]:
        return tuple(self._tables.audit[after : after + limit])

    async def head(self) -> Head:
        return self._tables.audit[-1].head if self._tables.audit else START
