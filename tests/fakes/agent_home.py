"""An agent's home in a temporary folder: its configuration, and the agent as a process of its own."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from headwater.demo.processes import Child
from headwater_agent.edges.console import SOCKET

from tests.fakes.agent_bundle import DATASET, DEVICE, dataset_file
from tests.support.warm import launch


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
        self._output = file.with_name("agent.log")
        self._begin = self._output.stat().st_size if self._output.exists() else 0  # an earlier one's
        self._process: Child | None = None

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "headwater_agent", "run", "--config", str(self._file)]
        self._process = await asyncio.to_thread(launch, command, self._output, self._environment)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        if self._process.poll() is None:
            self.send(signal.SIGKILL)
        await self.ended()
        if error is not None:
            print(self.log)

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._output.read_bytes()[self._begin :].decode(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def ended(self, within_s: float = 20.0) -> int:
        """Wait for its end; give the exit code."""
        assert self._process
        return await asyncio.to_thread(self._process.wait, within_s)


async def until(condition: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    """Wait till `condition` holds."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 (the condition is another process's)
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None


@contextmanager
def mute(state: Path) -> Iterator[None]:
    """Be an agent that hangs: the kernel takes whoever calls, and nobody answers."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(state / SOCKET))
        listening.listen()
        yield


@asynccontextmanager
async def restarted(file: Path, **crash: str) -> AsyncIterator[AgentProcess]:
    """Run an agent to the crash that `HEADWATER_CRASH_AT` names, then another one that lives."""
    async with AgentProcess(file, crash) as first:
        assert await first.ended() == -signal.SIGKILL, first.log
    async with AgentProcess(file) as second:
        yield second
