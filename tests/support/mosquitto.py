"""A real mosquitto on a free loopback port, for tests that hold our own broker, or a client, against it."""

import asyncio
import getpass
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

_START_S = 10.0
_STOP_S = 10.0
_ATTEMPTS = 5  # another process may take a free port before mosquitto does


def mosquitto_binary() -> str:
    """Find mosquitto; where there is none skip the test with the reason, but fail it on CI, which must have it."""
    found = shutil.which(
        "mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    )
    if found is None:
        reason = "mosquitto is not installed (Debian: apt-get install mosquitto)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI may not skip what needs it")
        pytest.skip(reason)
    return found


class Mosquitto:
    """One broker, which may be killed and started again on the same port with the same files."""

    def __init__(self, binary: str, folder: Path, extra: str) -> None:
        self.port = 0
        self._binary = binary
        self._folder = folder
        self._extra = extra
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start, and return once it listens. The first time it finds a port of its own, and keeps it."""
        for _ in range(1 if self.port else _ATTEMPTS):
            port = self.port or _free_port()
            if await self._try(port):
                self.port = port
                return
        raise RuntimeError(f"mosquitto did not start: {self._folder / 'mosquitto.log'} says why")

    async def kill(self) -> None:
        """End it with SIGKILL, as a power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it with SIGTERM: it saves what it is configured to save."""
        await self._end(signal.SIGTERM)

    async def _try(self, port: int) -> bool:
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nuser {getpass.getuser()}\n"
            f"log_dest stderr\nlog_type all\n{self._extra}\n"
        )
        self._process = await asyncio.create_subprocess_exec(
            self._binary, "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stderr is not None
        log = self._folder / "mosquitto.log"
        async with asyncio.timeout(_START_S):
            while line := await self._process.stderr.readline():
                with log.open("ab") as file:
                    file.write(line)
                if line.rstrip().endswith(b"running"):
                    self._log = asyncio.create_task(self._keep(self._process.stderr, log), name="mosquitto.log")
                    return True
            await self._process.wait()
        return False

    @staticmethod
    async def _keep(stream: asyncio.StreamReader, log: Path) -> None:
        while line := await stream.readline():
            with log.open("ab") as file:
                file.write(line)

    async def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._log is None:
            return
        if self._process.returncode is None:
            self._process.send_signal(how)
        async with asyncio.timeout(_STOP_S):
            await self._process.wait()
            await self._log
        self._process = self._log = None


@asynccontextmanager
async def running_mosquitto(folder: Path, extra: str = "") -> AsyncIterator[Mosquitto]:
    """Run mosquitto with its files in `folder` and the lines `extra` in its configuration.

    `folder / "mosquitto.log"` has its log. Skips, or on CI fails, where there is no mosquitto.
    """
    broker = Mosquitto(mosquitto_binary(), folder, extra)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
