"""A real mosquitto with mTLS, on a free loopback port, with the configuration that `headwater broker-config` writes."""

import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from headwater_control.broker_config import Wanted, run

from tests.support.mosquitto import mosquitto_binary

_START_S = 10.0
_STOP_S = 10.0
_ATTEMPTS = 5  # another process may take a free port before mosquitto does


class SecureMosquitto:
    """One broker, which may be killed and started again on the same port with the same files."""

    def __init__(self, data_dir: Path, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._data_dir = data_dir
        self._binary = mosquitto_binary()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def arguments(self) -> Sequence[str]:
        """What `headwater serve` needs to use it, beside `env`."""
        return ("--broker", f"mqtts://127.0.0.1:{self.port}")

    @property
    def env(self) -> Mapping[str, str]:
        """What `headwater serve` needs to shut devices out of it."""
        return {"HEADWATER_MOSQUITTO_DIR": str(self.folder), "HEADWATER_MOSQUITTO_RELOAD": shlex.join(self.reload)}

    @property
    def reload(self) -> Sequence[str]:
        """The command that lets it read its files again, also after a restart."""
        return ("sh", "-c", 'kill -HUP "$(cat "$0")"', str(self.folder / "pid"))

    @property
    def log(self) -> str:
        """What it has told."""
        return (self.folder / "log").read_text(errors="replace")

    def configure(self) -> None:
        """Write its files, as an operator does, or write them anew."""
        flags = {"data_dir": str(self._data_dir)}
        code = run(None, flags, Wanted(self.folder, f"127.0.0.1:{self.port}", ("localhost",)))
        assert code == 0, "broker-config failed: stderr says why"

    def start(self) -> None:
        """Start, and return once it listens. The first time it finds a port of its own, and keeps it."""
        for _ in range(1 if self.port else _ATTEMPTS):
            first = self.port == 0
            if first:
                self.port = _free_port()
                self.configure()
            if self._try():
                return
            self.port = 0 if first else self.port
        raise RuntimeError(f"mosquitto did not start:\n{self.log}")

    def kill(self) -> None:
        """End it with SIGKILL, as a power cut would; nothing, if it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(_STOP_S)
            self._process = None

    def _try(self) -> bool:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [self._binary, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < deadline:
            if "running\n" in self.log:
                (self.folder / "pid").write_text(f"{process.pid}\n")
                self._process = process
                return True
            time.sleep(0.01)
        process.kill()
        process.wait(_STOP_S)
        return False


@contextmanager
def secure_mosquitto(data_dir: Path, folder: Path) -> Iterator[SecureMosquitto]:
    """Run mosquitto with its files in `folder`, for the control plane whose data is, or will be, in `data_dir`.

    Skips, or on CI fails, where there is no mosquitto.
    """
    broker = SecureMosquitto(data_dir, folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
        sys.stdout.write(broker.log)  # pytest shows it if the test failed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
