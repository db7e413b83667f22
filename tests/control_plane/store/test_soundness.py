"""What a start does about a SQLite file that is damaged: it says so, and writes nothing to it."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from headwater_control.edges.store import open_store
from headwater_control.ports import Damaged

PAGE = 4096


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Make one with two thousand entries that look like nothing in particular."""
    place = tmp_path / "headwater.db"
    start(place)
    with closing(sqlite3.connect(place)) as connection, connection:
        rows = [(number, "2026-01-01 00:00:00", *(f"text {number}" for _ in range(9))) for number in range(1, 2001)]
        connection.executemany(f"INSERT INTO audit VALUES ({', '.join('?' * 11)})", rows)
    return place


def start(place: Path) -> None:
    """Open it as a start does."""

    async def opened() -> None:
        async with open_store(f"sqlite:///{place}"):
            pass

    asyncio.run(opened())


def overwritten(data: bytes, offset: int, size: int) -> bytes:
    """Put something else at a place."""
    return data[:offset] + size * b"\x5a" + data[offset + size :]


@pytest.mark.parametrize("kind", ["header", "page", "end", "other"])
def test_a_damaged_file_is_told_and_left_as_it_is(database: Path, kind: str) -> None:
    """In the words that say what to do, however often it is started; what can be saved of it is not written over."""
    whole = database.read_bytes()
    damaged = {
        "header": overwritten(whole, 0, 16),
        "page": overwritten(whole, len(whole) // PAGE // 2 * PAGE, PAGE),
        "end": whole[: len(whole) // PAGE // 2 * PAGE],
        "other": b"something else entirely\n" * 1000,
    }[kind]
    database.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(Damaged, match="the database is damaged: `headwater restore` the last backup"):
            start(database)
    assert database.read_bytes() == damaged
    database.write_bytes(whole)
    start(database)


@pytest.fixture
def killed(database: Path) -> Path:
    """Let a process that has just committed a token be killed."""
    code = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("INSERT INTO token (id, name, hash, role, labels, created_at, created_by) "
                   "VALUES ('token-1', 'n', 'h', 'admin', '{}', '2026-01-01 00:00:00', 'me')")
connection.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, database], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    return database


def test_what_a_killed_process_left_in_the_log_is_no_damage(killed: Path) -> None:
    """It is read with the file, and not lost."""
    assert log_of(killed).stat().st_size
    start(killed)
    with closing(sqlite3.connect(killed)) as connection:
        assert connection.execute("SELECT id FROM token").fetchall() == [("token-1",)]


def test_what_a_killed_process_left_in_the_log_is_not_written_into_a_damaged_file(killed: Path) -> None:
    """Both stay as they are, for whoever wants to save something of them."""
    data = killed.read_bytes()
    killed.write_bytes(overwritten(data, len(data) // PAGE // 2 * PAGE, PAGE))
    before = killed.read_bytes(), log_of(killed).read_bytes()
    with pytest.raises(Damaged):
        start(killed)
    assert (killed.read_bytes(), log_of(killed).read_bytes()) == before


def log_of(place: Path) -> Path:
    """Name the write-ahead log."""
    return place.with_name(f"{place.name}-wal")


async def test_damage_that_is_met_later_is_told_in_the_same_words(database: Path) -> None:
    """A page may go bad under a control plane that runs for months."""
    with pytest.raises(Damaged, match="the database is damaged"):
        async with open_store(f"sqlite:///{database}") as store:
            spoil(database)
            async with store.read() as tx:
                await tx.audit.entries(0, 2000)


def spoil(place: Path) -> None:
    """Write over all but the first page."""
    data = place.read_bytes()
    place.write_bytes(overwritten(data, PAGE, len(data) - PAGE))
