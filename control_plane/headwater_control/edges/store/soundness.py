"""Looks whether SQLite's file is one, before anything is written to it.

Of the pages, since SQLite has no checksum of them: what a flipped bit makes of a value, nothing here finds
(docs/durability.md). A small database costs a millisecond, one of a gigabyte two seconds, once it is read: little
enough for every start, and who serves from a damaged one damages what a restore would have to go by.
"""

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from headwater_control.ports import Damaged

log = logging.getLogger(__name__)

_WORTH_TELLING_S = 1.0


def check(database: Path, wait_s: float) -> None:
    """Read all of a database's pages, changing nothing; raise `Damaged`."""
    began_s = time.monotonic()
    try:
        where = f"{database.absolute().as_uri()}?mode=ro"  # else to close it would write the log into it
        with closing(sqlite3.connect(where, uri=True, timeout=wait_s)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        log.debug("%s can't be checked: %s", database, error)  # locked, or not to be read: whoever opens it says so
        return
    except sqlite3.DatabaseError as error:
        raise Damaged(str(error)) from error
    if found != "ok":
        raise Damaged(" ".join(str(found).split()))
    if (took_s := time.monotonic() - began_s) > _WORTH_TELLING_S:
        log.info("the database is sound: to check it took %.1f s", took_s)
