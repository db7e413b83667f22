"""What systemd is told."""

import asyncio
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from headwater_agent.edges.journal import SqliteJournal
from headwater_agent.edges.ledger import Ledger
from headwater_agent.edges.systemd import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_how_it_goes(tmp_path: Path, abstract: bool) -> None:
    """By one datagram each, on a socket of either kind."""
    name = f"@hw-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name[1:] if abstract else name)
        server.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
        notifier.ready()
        notifier.watchdog()
        notifier.status("x" * 1000)
        notifier.stopping()
        told = [server.recv(4096).decode() for _ in range(4)]
    assert told == ["READY=1", "WATCHDOG=1", "STATUS=" + "x" * 200, "STOPPING=1"]
    assert notifier.watchdog_s == 15.0


def test_without_systemd_nobody_is_told() -> None:
    """Nor if it has just gone, or watches another process."""
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).ready()
    assert Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s == 0


async def test_a_journal_that_hangs_starves_the_watchdog(tmp_path: Path) -> None:
    """Systemd is told that we live while the journal's thread answers, not while its disk hangs, and again after."""
    name = str(tmp_path / "notify")
    begun, hang = threading.Event(), threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server, ThreadPoolExecutor(1) as thread:
        server.bind(name)
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        journal = SqliteJournal(Ledger(tmp_path / "journal.db"), thread)
        feeding = loop.create_task(Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000"}).feed(journal.answers))
        async with asyncio.timeout(5):
            assert await loop.sock_recv(server, 100) == b"WATCHDOG=1"
            thread.submit(begun.set)
            thread.submit(hang.wait, 5)
            assert await asyncio.to_thread(begun.wait, 5)
            await _all(loop, server)  # what was on its way
            assert not await _all(loop, server), "the watchdog was fed while the journal hung"
            hang.set()
            assert await loop.sock_recv(server, 100) == b"WATCHDOG=1"
        feeding.cancel()


async def _all(loop: asyncio.AbstractEventLoop, server: socket.socket) -> int:
    """Count what is told within fifty times the pause between two feedings."""
    count = 0
    try:
        async with asyncio.timeout(0.05):
            while True:
                await loop.sock_recv(server, 100)
                count += 1
    except TimeoutError:
        return count
