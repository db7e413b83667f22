"""What systemd is told, by one datagram each."""

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from headwater_wire.systemd import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_how_it_goes(tmp_path: Path, abstract: bool) -> None:
    """On a socket of either kind."""
    name = f"@hw-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name[1:] if abstract else name)
        server.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready()
        notifier.status("x" * 1000)
        notifier.stopping()
        told = [server.recv(4096).decode() for _ in range(3)]
    assert told == ["READY=1", "STATUS=" + "x" * 200, "STOPPING=1"]


def test_a_systemd_that_does_not_listen_stops_nobody(tmp_path: Path) -> None:
    """The kernel keeps few datagrams: what found no room is told with the next, but for a sign of life that is old."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000"})
        for number in range(1000):
            notifier.status(f"it is {number}")
        notifier.ready()
        with suppress(BlockingIOError):
            while server.recv(4096):
                pass
        notifier.status("two\nlines")
        assert server.recv(4096) == b"STATUS=two lines\nREADY=1"
        notifier.stopping()
        assert server.recv(4096) == b"STOPPING=1"


async def test_a_sign_of_life_that_found_no_room_is_no_later_one(tmp_path: Path) -> None:
    """Else a systemd that wakes would take who hangs for alive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000"})
        for _ in range(1000):
            notifier.ready()
        asked = asyncio.Event()

        async def once() -> bool:
            first = not asked.is_set()
            asked.set()
            return first

        feeding = asyncio.create_task(notifier.feed(once))
        await asked.wait()
        await asyncio.sleep(0)
        feeding.cancel()
        with suppress(BlockingIOError):
            while server.recv(4096):
                pass
        notifier.stopping()
        assert server.recv(4096) == b"READY=1\nSTOPPING=1"


async def test_without_systemd_nobody_is_told() -> None:
    """Nor if it has just gone, or watches another process."""
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).ready()
    async with asyncio.timeout(5):
        await Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).feed(_yes)


async def test_systemd_hears_that_we_live_while_we_do(tmp_path: Path) -> None:
    """Again and again, but for while the answer is no."""
    lives = True

    async def alive() -> bool:
        return lives

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000"})
        feeding = loop.create_task(notifier.feed(alive))
        async with asyncio.timeout(5):
            assert [await loop.sock_recv(server, 100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            lives = False
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):  # fifty times the pause
                    while True:
                        await loop.sock_recv(server, 100)
            lives = True
            assert await loop.sock_recv(server, 100) == b"WATCHDOG=1"
        feeding.cancel()


async def _yes() -> bool:
    return True
