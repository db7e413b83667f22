"""An agent's home in a temporary folder: its configuration, and the agent as a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.agent_bundle import DATASET, DEVICE, dataset_file


@dataclass
class Home:
    """Where an agent lives."""

    folder: Path
    broker_port: int
    gateway_port: int
    engine: str = "constant"
    worker_idle_s: float = 300.0

    @property
    def state(self) -> Path:
        """Its state_dir."""
        return self.folder / "state"

    def write(self, *, datasets: bool = True) -> Path:
        """Write agent.toml, and the dataset it names."""
        file = self.folder / "agent.toml"
        text = f"""
[agent]
id = "{DEVICE}"
state_dir = "state"
labels = {{ site = "lab" }}

[control_plane]
insecure = true
broker = "mqtt://127.0.0.1:{self.broker_port}"
gateway = "127.0.0.1:{self.gateway_port}"

[training]
engine = "{self.engine}"
worker_idle_s = {self.worker_idle_s}
"""
        if datasets:
            dataset_file(self.folder)
            text += f"""
[datasets.{DATASET}]
format = "npz"
path = "numbers.npz"
columns = {{ x = {{ source = "x" }}, label = {{ source = "label", dtype = "int64" }} }}
"""
        file.write_text(text)
        return file


class AgentProcess:
    """A running `headwater-agent run`; its log is in `log`."""

    def __init__(self, file: Path, environment: Mapping[str, str] | None = None) -> None:
        self._file = file
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None
        self.log = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headwater_agent",
            "run",
            "--config",
            str(self._file),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()
        if error is not None:
            print(self.log)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process
        self._process.send_signal(number)

    async def ended(self, within_s: float = 20.0) -> int:
        """Wait for its end; give the exit code."""
        assert self._process
        async with asyncio.timeout(within_s):
            code = await self._process.wait()
            await self._reader
        return code

    async def _read(self) -> None:
        assert self._process and self._process.stderr
        async for line in self._process.stderr:
            self.log += line.decode(errors="replace")


async def until(condition: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    """Wait till `condition` holds."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 (the condition is another process's)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None


@asynccontextmanager
async def restarted(file: Path, **crash: str) -> AsyncIterator[AgentProcess]:
    """Run an agent to the crash that `HEADWATER_CRASH_AT` names, then another one that lives."""
    async with AgentProcess(file, crash) as first:
        assert await first.ended() == -signal.SIGKILL, first.log
    async with AgentProcess(file) as second:
        yield second
