"""sd_notify(3) in a few lines: READY, STOPPING, a status and the watchdog, if systemd started us and asks for them."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress


class Notifier:
    """Tells systemd how it goes, and never waits for it; without $NOTIFY_SOCKET it tells nobody.

    What a busy systemd has no room for goes with the next message. A box whose systemd hangs goes on with its work.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_s = int(environment.get("WATCHDOG_USEC", "0") or 0) / 1_000_000 if ours else 0.0
        self._owed: dict[str, str] = {}

    def ready(self) -> None:
        """Say that the start is over."""
        self._send("READY", "1")

    def stopping(self) -> None:
        """Say that this is a stop in good order."""
        self._send("STOPPING", "1")

    def status(self, line: str) -> None:
        """Show a line in `systemctl status`."""
        self._send("STATUS", line.replace("\n", " ")[:200])

    async def feed(self, alive: Callable[[], Awaitable[bool]]) -> None:
        """Say twice as often as systemd wants it that we live, while `alive` answers, and answers so."""
        while self._watchdog_s:
            if await alive():
                self._send("WATCHDOG", "1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, name: str, value: str) -> None:
        if not self._address:
            return
        self._owed[name] = value
        message = "\n".join(f"{name}={value}" for name, value in self._owed.items())
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as channel:  # it is full, or just restarted
            channel.sendto(message.encode(), self._address)
            self._owed.clear()
        self._owed.pop("WATCHDOG", None)  # that we live now says nothing of later
