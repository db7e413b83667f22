"""Which database a data directory belongs to: beside another one its blobs would be nobody's, and be swept.

A database is known by the digest of its audit log's first entry. That is made at the first start, before any blob is,
is like no other's, never changes, and is in every dump and backup: nothing more need be kept there. The data directory
has it in a file of its own.
"""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headwater_wire import durable

from headwater_control.config import BadSetting
from headwater_control.core.audit import START, Deed
from headwater_control.datadir import DATABASE_ID, DataDir
from headwater_control.edges.store import NoTables, open_store
from headwater_control.ports import Clock, Damaged, Store
from headwater_control.service.caller import caller

log = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}")


@asynccontextmanager
async def opened(url: str, data: DataDir, clock: Clock) -> AsyncIterator[Store]:
    """Open the directory's database, and make one only for a directory without an earlier life.

    Raises `BadSetting` if the database is empty where the directory is not, having made no tables, or is another's;
    and whatever `open_store` does.
    """
    try:
        async with open_store(url, begins=not _has_lived(data)) as store:
            await _settle(store, data, clock)
            yield store
    except NoTables as error:
        raise _beside_nothing(data) from error


def known(data: DataDir) -> str:
    """Tell by what digest the directory knows its database, once that was opened."""
    return (data.path / DATABASE_ID).read_text(encoding="ascii", errors="replace").strip()


def _has_lived(data: DataDir) -> bool:
    """Say whether a control plane served from this directory before: it left its database's id, or blobs.

    One that was killed while it imported its very first model may have left a blob that no row names. Tables it has
    left too: blobs beside a database without any have lost theirs.
    """
    return (data.path / DATABASE_ID).exists() or any((data.blobs / "objects").glob("??/" + "[0-9a-f]" * 64))


def _beside_nothing(data: DataDir) -> BadSetting:
    return BadSetting(
        f"the database is empty, and {data.path} holds the blobs of one that was not: correct `database`, or restore "
        f"the last backup with `headwater restore`; to begin anew, move {data.path} away"
    )


async def _settle(store: Store, data: DataDir, clock: Clock) -> None:
    """Raise `BadSetting` unless the database is this directory's. A directory that knows of none yet takes it.

    It knows of none at its first start, if only an older Headwater has served from it, and if the file is damaged.
    """
    place = data.path / DATABASE_ID
    async with store.read() as tx:
        begun = await tx.audit.head() != START
    if not begun:
        if place.exists():
            raise _beside_nothing(data)
        async with store.write() as tx:  # two replicas may do so at once: the first entry is the first one's
            await tx.audit.append(Deed("control.begin", data.holder, "{}", "{}"), caller(), clock.now())
    try:
        async with store.read() as tx:
            found = next((entry.digest for entry in await tx.audit.entries(0, 1)), "")
    except (ValueError, TypeError) as error:  # SQLite finds no flipped bit within a value
        raise Damaged(f"the audit log's first entry can't be read: {error}") from error
    if place.is_file() and _DIGEST.fullmatch(known(data)):
        if known(data) != found:
            raise BadSetting(
                f"the database is not the one that the blobs in {data.path} belong to: correct `database`, or "
                f"`data_dir`, or restore the last backup with `headwater restore`; if they do belong together, "
                f"remove {place}"
            )
        return
    if place.exists():
        log.warning("%s is damaged: writing it anew", place)
    durable.write(place, found.encode() + b"\n")
