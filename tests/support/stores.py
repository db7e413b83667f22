"""The three stores that keep one contract, each empty.

The databases are copies of one that this process migrated once: what migrating does is for `test_migrations`.
"""

import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from headwater_control.edges.store import open_store
from headwater_control.ports import Store
from sqlalchemy.engine import make_url

from tests.fakes.memory_store import MemoryStore
from tests.support import postgres as servers

WAIT_S = 5.0
_migrated: dict[str, str] = {}  # a file's path, a database's name


@asynccontextmanager
async def memory(_folder: Path, wait_s: float = WAIT_S) -> AsyncIterator[Store]:
    """Open the fake."""
    yield MemoryStore(wait_s)


@asynccontextmanager
async def sqlite(folder: Path, wait_s: float = WAIT_S) -> AsyncIterator[Store]:
    """Open a database file in `folder`."""
    database = folder / "headwater.db"
    if not database.exists():
        shutil.copyfile(await _migrated_file(), database)
    async with open_store(f"sqlite:///{database}", wait_s=wait_s) as store:
        yield store


@asynccontextmanager
async def postgres(_folder: Path, wait_s: float = WAIT_S) -> AsyncIterator[Store]:
    """Open a database of its own."""
    async with servers.fresh_database(await _migrated_database()) as url, open_store(url, wait_s=wait_s) as store:
        yield store


async def _migrated_file() -> str:
    if "sqlite" not in _migrated:
        folder = tempfile.mkdtemp(prefix="hw-sqlite-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        async with open_store(f"sqlite:///{folder}/headwater.db"):
            _migrated["sqlite"] = f"{folder}/headwater.db"
    return _migrated["sqlite"]


async def _migrated_database() -> str:
    if "postgres" not in _migrated:
        url = await servers.postgres().database()
        async with open_store(url):
            _migrated["postgres"] = make_url(url).database or ""
    return _migrated["postgres"]


Opener = Callable[..., AbstractAsyncContextManager[Store]]
EVERY: tuple[Opener, ...] = (memory, sqlite, postgres)
