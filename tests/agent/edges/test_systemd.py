"""What systemd is told."""

import os
import socket
from pathlib import Path

import pytest
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
