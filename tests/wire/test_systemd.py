"""What systemd is told, by one datagram each."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from headwater_wire.systemd import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_how_it_goes(tmp_path: Path, abstract: bool) -> None:
    """By one datagram each, on a socket of either kind."""
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
