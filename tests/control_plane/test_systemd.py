"""What systemd is told by the control plane, and hands to it."""

import asyncio
import socket
from pathlib import Path

import pytest
from headwater_control.config import load
from headwater_control.systemd import Notifier


async def test_systemd_hears_that_it_serves_and_lives_while_the_coordinator_advances(tmp_path: Path) -> None:
    """READY and STOPPING once; WATCHDOG again and again, but for while it does not advance."""
    lives = True
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000"})
        notifier.ready()
        feeding = loop.create_task(notifier.feed(lambda: lives))
        async with asyncio.timeout(5):
            assert [await loop.sock_recv(server, 100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
            lives = False
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):  # fifty times the pause
                    while True:
                        await loop.sock_recv(server, 100)
            notifier.stopping()
            assert await loop.sock_recv(server, 100) == b"STOPPING=1"
        feeding.cancel()


async def test_without_systemd_nobody_is_told() -> None:
    """Nor if it watches another process."""
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).ready()
    async with asyncio.timeout(5):
        await Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).feed(lambda: True)


def test_the_databases_password_may_come_as_a_credential(tmp_path: Path) -> None:
    """It beats file and environment, and a flag beats it; "none", which the unit gives, is none."""
    place, environment = tmp_path / "headwater.database", {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load(None, environment, {}).database == ""
    place.write_text("none\n")
    assert load(None, environment, {}).database == ""
    place.write_text("postgresql://headwater:secret@127.0.0.1/headwater\n")
    known = {**environment, "HEADWATER_DATABASE": "sqlite:///other"}
    assert load(None, known, {}).database == "postgresql://headwater:secret@127.0.0.1/headwater"
    assert load(None, known, {"database": "sqlite:///third"}).database == "sqlite:///third"
