"""What starves systemd's watchdog."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headwater_agent.edges.journal import SqliteJournal
from headwater_agent.edges.ledger import Ledger
from headwater_wire.systemd import Notifier


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
