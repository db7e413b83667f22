"""`python -m tests.durability.flips`: single bits flipped in a control plane's database, and who notices.

SQLite keeps no checksum of its pages: a flipped bit that leaves a well-formed page is another value, and no error.
"""

import argparse
import random
import re
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

from rich.progress import track

from tests.durability.history import history

Row = tuple[object, ...]
Tables = dict[str, list[Row]]

_DIGEST = re.compile(rb"[0-9a-f]{64}")
_SCHEMA = "sqlite_master"
_VERSIONS_AT = 18  # of the file format, for writing and reading: 2 is WAL, which has no place in memory
_LEGACY = b"\x01\x01"
_columns: dict[str, list[str]] = {}  # of each table, as first read


def main() -> None:
    """Flip, and print what was found by whom; what nobody finds is told by column."""
    parser = argparse.ArgumentParser(prog="python -m tests.durability.flips", description=__doc__)
    parser.add_argument("--flips", type=int, default=5000, help="how many, each in a fresh copy (5000)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hw-") as name:
        with history(Path(name) / "history") as made:
            made.live()
        with closing(sqlite3.connect(made.data / "headwater.db")) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            database.execute("VACUUM")
            image = bytearray(database.serialize())
    image[_VERSIONS_AT : _VERSIONS_AT + 2] = _LEGACY
    sound = _read(bytes(image))
    assert isinstance(sound, dict)
    drawn = random.Random(given.seed)
    found: Counter[str] = Counter()
    hidden: Counter[str] = Counter()
    for _ in track(range(given.flips), "flipping", transient=True):
        flipped = bytearray(image)
        flipped[drawn.randrange(len(image))] ^= 1 << drawn.randrange(8)
        verdict, where = judge(sound, _read(bytes(flipped)))
        found[verdict] += 1
        hidden.update(where)
    print(f"{given.flips} single flips in a database of {len(image)} bytes")
    for verdict, count in found.most_common():
        print(f"  {count:6}  {verdict}")
    print("found by nothing, by column: " + ", ".join(f"{where} {count}" for where, count in hidden.most_common(12)))


def judge(sound: Tables, read: Tables | str) -> tuple[str, list[str]]:
    """Say who notices, and, if nobody does, in which columns or tables."""
    if isinstance(read, str):
        return read, []
    if sound[_SCHEMA] != read[_SCHEMA]:
        return "the schema: no query that needs it works", []
    changed = [table for table in sound if sound[table] != read[table]]
    if not changed:
        return "no row is changed", []
    if "audit" in changed or "audit_head" in changed:
        return "found by `headwater audit verify`", []
    if any(len(sound[table]) != len(read[table]) for table in changed):
        return "rows are missing, or too many, found by nothing", changed
    differing = [
        (f"{table}.{_columns[table][place]}", old)
        for table in changed
        for before, after in zip(sound[table], read[table], strict=True)
        for place, (old, new) in enumerate(zip(before, after, strict=True))
        if old != new
    ]
    if all(isinstance(old, bytes) and _DIGEST.fullmatch(old) for _, old in differing):
        return "a digest or a secret's hash: what it names is not there, or not let in", []
    return "another value, found by nothing", [where for where, _ in differing]


def _read(image: bytes) -> Tables | str:
    with closing(sqlite3.connect(":memory:")) as database:
        database.text_factory = bytes
        try:
            database.deserialize(image)
            (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != b"ok":
                return "found by `integrity_check`"
            schema = database.execute("SELECT name, type, tbl_name, sql FROM sqlite_master").fetchall()
            names = [str(name, "utf-8") for name, kind, *_ in schema if kind == b"table"]
            read: Tables = {_SCHEMA: schema}
            for name in names:
                cursor = database.execute(f'SELECT * FROM "{name}"')
                _columns.setdefault(name, [column[0] for column in cursor.description])
                read[name] = cursor.fetchall()
            return read
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return "refused by SQLite"


if __name__ == "__main__":
    main()
