"""sd_notify(3) in a few lines: READY, STOPPING, a status and the watchdog, if systemd started us and asks for them."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping


class Notifier:
    """Tells systemd how it goes; without $NOTIFY_SOCKET it tells nobody."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_s = int(environment.get("WATCHDOG_USEC", "0") or 0) / 1_000_000 if ours else 0.0

    def ready(self) -> None:
        """Say that the start is over."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that this is a stop in good order."""
        self._send("STOPPING=1")

    def status(self, line: str) -> None:
        """Show a line in `systemctl status`."""
        self._send(f"STATUS={line[:200]}")

    async def feed(self, alive: Callable[[], Awaitable[bool]]) -> None:
        """Say twice as often as systemd wants it that we live, while `alive` answers, and answers so."""
        while self._watchdog_s:
            if await alive():
                self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto(message.encode(), self._address)
            except OSError:
                return  # systemd is being restarted: the next one reaches it
