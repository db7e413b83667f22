"""sd_notify(3) in a few lines: READY, STOPPING and the watchdog, if systemd asks for them."""

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
        self._watchdog_usec = int(environment.get("WATCHDOG_USEC", "0") or 0) if ours else 0

    @property
    def watchdog_s(self) -> float:
        """Say how often `watchdog` should be called: half of what systemd bears; 0 if it doesn't watch."""
        return self._watchdog_usec / 2_000_000

    def ready(self) -> None:
        """The agent is up."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The agent goes down, in good order."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """The agent lives."""
        self._send("WATCHDOG=1")

    async def feed(self, alive: Callable[[], Awaitable[None]]) -> None:
        """Say that we live each time `alive` has answered: systemd ends an agent of which something hangs."""
        while self.watchdog_s:
            await alive()
            self.watchdog()
            await asyncio.sleep(self.watchdog_s)

    def status(self, line: str) -> None:
        """Show a line in `systemctl status`."""
        self._send(f"STATUS={line[:200]}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto(message.encode(), self._address)
            except OSError:
                return  # systemd is being restarted: the next one reaches it
