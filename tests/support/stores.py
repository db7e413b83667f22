"""The three stores that keep one contract, each empty."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from headwater_control.edges.store import open_store
from headwater_control.ports import Store

from tests.fakes.memory_store import MemoryStore
from tests.support.postgres import fresh_database

WAIT_S = 5.0


@asynccontextmanager
async def memory(_folder: Path, wait_s: float = WAIT_S) -> AsyncIterator[Store]:
    """Open the fake."""
    yield MemoryStore(wait_s)


@asynccontextmanager
async def sqlite(folder: Path, wait_s: float = WAIT_S) -> AsyncIterator[Store]:
    """Open a database file in `folder`."""
    async with open_store(f"sqlite:///{folder / 'headwater.db'}", wait_s=wait_s) as store:
        yield store


@asynccontextmanager
async def postgres(_folder: Path, wait_s: float = WAIT_S) -> AsyncIterator[Store]:
    """Open a database of its own."""
    async with fresh_database() as url, open_store(url, wait_s=wait_s) as store:
        yield store


Opener = Callable[..., AbstractAsyncContextManager[Store]]
EVERY: tuple[Opener, ...] = (memory, sqlite, postgres)
