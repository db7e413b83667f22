"""The agent's memory on disk: what the machine decides is saved here before it is acted upon."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from headwater_wire import durable

from headwater_agent.core.session import Box, Session
from headwater_agent.edges import records
from headwater_agent.edges.ledger import Ledger
from headwater_agent.ports import Damaged, Survey

_EPOCH = "epoch"
_SURVEY = "survey/"
_T = TypeVar("_T")
PAUSE_S = 2.0  # before a write that failed is tried again
_log = logging.getLogger(__name__)


class Records(Protocol):
    """Named records: what `write` has returned from survives a power loss, all or nothing."""

    problems: tuple[str, ...]
    rows: dict[str, bytes]

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Replace, insert and (None) delete; raise `sqlite3.OperationalError` while the disk does not let us."""


class SqliteJournal:
    """The `Journal` port over a `Ledger`, whose calls happen in one thread of its own."""

    def __init__(self, ledger: Records, thread: Executor | None, pause_s: float = PAUSE_S) -> None:
        self._ledger = ledger
        self._thread = thread
        self._pause_s = pause_s
        self._unreadable: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Say what was found damaged, and what was done about it."""
        return self._ledger.problems + tuple(f"the record {key!r} makes no sense: left out" for key in self._unreadable)

    async def load(self, box: Box) -> Session:
        """Give what was saved last; what is damaged is left out, for Sync to heal."""
        session, self._unreadable = records.load(self._ledger.rows, box)
        return session

    async def save(self, session: Session) -> None:
        """Remember, writing only what has changed."""
        after = records.dump(session)
        before = {k: v for k, v in self._ledger.rows.items() if k != _EPOCH and not k.startswith(_SURVEY)}
        changes: dict[str, bytes | None] = {key: body for key, body in after.items() if before.get(key) != body}
        changes |= dict.fromkeys(before.keys() - after.keys())
        if changes:
            await self._write(changes)

    async def next_epoch(self) -> int:
        """Count one more connection, before it is made."""
        epoch = self._epoch() + 1
        await self._write({_EPOCH: records.encode(epoch)})
        return epoch

    async def jump_epoch(self, past: int) -> None:
        """Go on counting beyond `past`."""
        if self._epoch() < past:
            await self._write({_EPOCH: records.encode(past)})

    async def surveys(self) -> tuple[Survey, ...]:
        """Give what was found in the datasets when they were inspected last."""
        found = []
        for key, body in self._ledger.rows.items():
            if key.startswith(_SURVEY):
                try:
                    found.append(records.load_survey(body))
                except ValueError:
                    continue  # written by another release: inspected again
        return tuple(found)

    async def save_surveys(self, surveys: Collection[Survey]) -> None:
        """Remember these, and no others."""
        after = {f"{_SURVEY}{survey.card.name}": records.dump_survey(survey) for survey in surveys}
        before = {key: body for key, body in self._ledger.rows.items() if key.startswith(_SURVEY)}
        if before != after:
            await self._write({**dict.fromkeys(before.keys() - after.keys()), **after})

    async def answers(self) -> bool:
        """Say yes once what was being written is written: never, while the disk hangs."""
        return await asyncio.shield(_in(self._thread, lambda: True))

    def _epoch(self) -> int:
        body = self._ledger.rows.get(_EPOCH, b"0")
        return int(body) if body.isdigit() else 0

    async def _write(self, changes: Mapping[str, bytes | None]) -> None:
        """Write, as soon as the disk lets us: until then nothing is decided, and nothing is lost."""
        count = 0
        while True:
            try:
                # Shielded: a commit under way ends even if its waiter is cancelled, so that memory and disk agree.
                return await asyncio.shield(_in(self._thread, lambda: self._ledger.write(changes)))
            except sqlite3.OperationalError as error:  # full, read-only, an I/O error; damage is a DatabaseError
                if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th … time
                    _log.error("the journal can't be written (%s): the agent waits; make room on its disk", error)
                count += 1
            await asyncio.sleep(self._pause_s)


@asynccontextmanager
async def open_journal(path: Path, pause_s: float = PAUSE_S) -> AsyncIterator[SqliteJournal]:
    """Open, or begin, the journal at `path`; a damaged one is set aside and what it still tells goes on."""
    with ThreadPoolExecutor(1, thread_name_prefix="journal") as thread:
        await _in(thread, lambda: durable.make_dirs(path.parent))
        try:
            ledger = await _in(thread, lambda: Ledger(path))
        except sqlite3.OperationalError as error:
            raise Damaged(f"{path} can't be opened ({error}): make room on its disk, or look after that") from error
        try:
            yield SqliteJournal(ledger, thread, pause_s)
        finally:
            await _in(thread, lambda: ledger.__exit__())


def _in(thread: Executor | None, work: Callable[[], _T]) -> "asyncio.Future[_T]":
    return asyncio.get_running_loop().run_in_executor(thread, work)
