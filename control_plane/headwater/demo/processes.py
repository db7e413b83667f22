"""A control plane and agents as real processes on loopback: started, awaited, stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from headwater.client import Client
from headwater.errors import HeadwaterError
from headwater.records import Device

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.02
_TAIL_BYTES = 3000
_LIFELINE = Path(__file__).with_name("lifeline.py")


class ProcessError(HeadwaterError):
    """A process that did not start, or ended by itself: its last words stand in the message."""


class Child(Protocol):
    """The leader of a process group, as `subprocess.Popen` describes it."""

    pid: int

    def poll(self) -> int | None:
        """Give its exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise `subprocess.TimeoutExpired`."""

    def terminate(self) -> None:
        """Ask it to stop."""


Launch = Callable[[Sequence[str], Path, Mapping[str, str]], Child]


def cold(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
    """Start a command in a process group of its own, its output in a file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-IS", str(_LIFELINE), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,  # Ctrl-C is ours to handle: they are stopped in order
        )


class Process:
    """One child process in a process group of its own, with its output in a file. A context: leaving it stops it.

    Where the kernel can tell (Linux), it is stopped too when this process is killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        launch: Launch = cold,
    ) -> None:
        """Start `command`; HEADWATER_* variables of this process are not passed on, those in `env` are."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HEADWATER_")}
        log.parent.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = log
        self._child = launch(command, log, {**clean, **(env or {})})

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self._child.pid

    def exit_code(self) -> int | None:
        """Say how it ended; None while it runs."""
        return self._child.poll()

    def tail(self) -> str:
        """Give the end of its output."""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()

    def require_alive(self) -> None:
        """Raise `ProcessError` with its last words if it has ended."""
        if (code := self.exit_code()) is not None:
            raise ProcessError(f"{self.name} ended with exit code {code}; its log {self.log} ends so:\n{self.tail()}")

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; raise TimeoutError."""
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.name} is still running after {timeout_s:g} s") from error

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.exit_code() is None:
            self._child.terminate()

    def kill(self) -> None:
        """End it and its children at once, as a power cut would."""
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def stop(self) -> None:
        """Ask, wait, and insist."""
        self.terminate()
        try:
            self.wait(STOP_WITHIN_S)
        except TimeoutError:
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a control plane listens."""

    http: str  # a URL
    grpc: str  # host:port
    mqtt: str  # a URL
    enrol: str  # host:port; "" without TLS
    pid: int
    token: str | None = field(default=None, repr=False)  # the first admin's
    ca: Path | None = None

    @property
    def secure(self) -> bool:
        """Say whether there is TLS, so that who comes must prove who they are."""
        return self.http.startswith("https://")

    @property
    def env(self) -> dict[str, str]:
        """What lets the command line in as the first admin."""
        secrets = {"HEADWATER_TOKEN": self.token or "", "HEADWATER_CA": str(self.ca)} if self.secure else {}
        return {"HEADWATER_URL": self.http, **secrets}

    def client(self, timeout_s: float = 30.0) -> Client:
        """Open the door as the first admin."""
        return Client(self.http, token=self.token, ca=self.ca, timeout_s=timeout_s)


class ControlPlane(Process):
    """`headwater serve`, by default on free ports."""

    def __init__(
        self,
        data_dir: Path,
        *,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        at: Endpoints | None = None,
        secure: bool = True,
        launch: Launch = cold,
    ) -> None:
        """Start one; `at` takes the ports of an earlier one, `prefix` is put before the command."""
        ports = {
            "http": at.http.partition("://")[2] if at else "127.0.0.1:0",
            "grpc": at.grpc if at else "127.0.0.1:0",
            "mqtt": at.mqtt.partition("://")[2] if at else "127.0.0.1:0",
            "enrol": at.enrol if at and at.enrol else "127.0.0.1:0",
        }
        flags = [word for name, address in ports.items() for word in (f"--{name}", address)]
        self._endpoints_file = data_dir / "endpoints.json"
        self._token_file = data_dir / "admin.token"
        self._ca = Path((env or {}).get("HEADWATER_CA_CHAIN") or data_dir / "ca" / "root.pem")
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # before the log's, which would be for all to read
        flags += ["--admin-token-file", str(self._token_file)] if secure else ["--insecure"]
        command = [sys.executable, "-m", "headwater.cli", "serve", "--data-dir", str(data_dir), *flags, *arguments]
        super().__init__("the control plane", [*prefix, *command], data_dir / "serve.log", env, launch)

    def ready(self, within_s: float = READY_WITHIN_S) -> Endpoints:
        """Wait until it serves; raise `ProcessError` if it ends or takes too long."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self.require_alive()
            if (found := self._endpoints()) and _is_ready(found):
                return found
            time.sleep(_LOOK_EVERY_S)
        raise ProcessError(f"the control plane is not ready after {within_s:g} s; its log ends so:\n{self.tail()}")

    def _endpoints(self) -> Endpoints | None:
        try:
            tree = json.loads(self._endpoints_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        found = Endpoints(tree["http"], tree["grpc"], tree["mqtt"], tree["enrol"], tree["pid"])
        if found.secure:
            found = replace(found, token=self._token_file.read_text().strip(), ca=self._ca)
        ours = found.pid == self.pid or _parent_of(found.pid) == self.pid  # under a prefix it is our grandchild
        return found if ours else None


class Agent(Process):
    """`headwater-agent run`."""

    def __init__(
        self,
        config: Path,
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        launch: Launch = cold,
    ) -> None:
        """Start one with a configuration file."""
        command = [sys.executable, "-m", "headwater_agent", "run", "--config", str(config)]
        super().__init__(f"the agent of {config.parent.name}", [*prefix, *command], log, env, launch)


class Enrolment(Process):
    """`headwater-agent enroll`, which ends by itself."""

    def __init__(self, config: Path, invitation: str, *, log: Path) -> None:
        """Begin to enrol the box of a configuration file."""
        command = [sys.executable, "-m", "headwater_agent", "enroll", "--config", str(config), invitation]
        super().__init__(f"the enrolment of {config.parent.name}", command, log)

    def done(self) -> None:
        """Wait until it has worked; raise `ProcessError`."""
        if code := self.wait(READY_WITHIN_S):
            raise ProcessError(f"{self.name} ended with exit code {code}:\n{self.tail()}")


@contextmanager
def all_stopped(processes: list[Process]) -> Iterator[list[Process]]:
    """Stop, at the end and all at once, whatever was put into the list: the last one started first."""
    try:
        yield processes
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            process.stop()


def registered(client: Client, devices: Sequence[str], processes: Sequence[Process]) -> None:
    """Wait until all `devices` are online and have told their datasets; raise `ProcessError`."""
    deadline = time.monotonic() + READY_WITHIN_S
    missing = set(devices)
    while missing:
        for process in processes:
            process.require_alive()
        missing = set(devices) - {device.id for device in client.devices.list() if _is_known(device)}
        if missing and time.monotonic() > deadline:
            raise ProcessError(f"not registered after {READY_WITHIN_S:g} s: {', '.join(sorted(missing))}")
        time.sleep(_LOOK_EVERY_S)


def _is_known(device: Device) -> bool:
    """Say whether a device is online and has looked at its data: before that it is drawn for no round."""
    return device.online and bool(device.datasets) and not any(card.pending for card in device.datasets)


def _is_ready(endpoints: Endpoints) -> bool:
    try:
        with endpoints.client(timeout_s=5.0) as client:
            return client.health().ready
    except HeadwaterError:
        return False


def _parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
