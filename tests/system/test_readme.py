"""The README's walk-through works as written."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import onnxruntime
import pytest

from tests.support.waiting import until_now

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SECTION = "## Your own model and your own csv in ten minutes"
SERVES = "headwater serve"  # stays in the first terminal: what follows is typed into the second
COMMAND_WITHIN_S = 90.0


class Terminal:
    """A shell in a folder, told one command after the other; leaving the context closes it."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._bash = subprocess.Popen(
                ["bash"],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Give all that it showed."""
        return self._log.read_text()

    def enter(self, command: str) -> None:
        """Enter a command."""
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{command}\n".encode())
        self._bash.stdin.flush()

    def run(self, command: str) -> None:
        """Enter a command, and wait until it has ended well."""
        before = self.output
        self.enter(f"{command}\necho ended with $?.")
        until_now(lambda: bool(self._ends(before)), f"{command} ends", COMMAND_WITHIN_S)
        assert self._ends(before) == ["0"], f"{command}\n{self.output.removeprefix(before)}"

    def press_ctrl_c(self) -> None:
        """Interrupt what it runs, and wait until that has ended well."""
        os.killpg(self._bash.pid, signal.SIGINT)
        self.run("")

    def _ends(self, before: str) -> list[str]:
        return re.findall(r"^ended with (\d+)\.$", self.output.removeprefix(before), re.MULTILINE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()


def commands() -> Iterator[str]:
    """Read the section's commands; one that continues over lines (a here-document) is one command."""
    section = (ROOT / "README.md").read_text("utf-8").split(SECTION)[1].split("\n## ")[0]
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        yield from (command.strip() for command in re.split(r"^\$ ", block, flags=re.MULTILINE) if command.strip())


def test_the_readmes_walk_through_ends_with_a_model_on_both_boxes(tmp_path: Path) -> None:
    """Each command of the README, as written, in its order: a second data set becomes a model that is installed."""
    environment, clinics = _environment(tmp_path / "home"), tmp_path / "clinics"
    with Terminal("first", tmp_path, environment) as first, Terminal("second", tmp_path, environment) as second:
        terminal = first
        for command in commands():
            command = command.replace("source .venv/bin/activate", "true")  # the test's own environment is used
            command = command.replace("127.0.0.1:8080", environment["HEADWATER_HTTP"])
            if command.startswith(SERVES):
                first.enter(command)
                until_now(lambda: "headwater is ready" in first.output, "the control plane is ready")
                terminal = second
                continue
            terminal.run(command)
            if command.endswith("&"):
                log = tmp_path / re.findall(r"2> (\S+)", command)[0]
                until_now(partial(_says, log, "dataset tumours: "), f"{command}: it knows its data")
        for box in ("clinic-1", "clinic-2"):
            until_now(partial(_says, clinics / f"{box}.log", f"{box} stops"), f"{box} has been told to stop")
            assert box in second.output
        assert "completed; newest version tumours-11" in second.output
        first.press_ctrl_c()
        assert "Traceback" not in first.output + second.output
    for box in ("state-1", "state-2"):
        installed = clinics / box / "models" / "tumours" / "current" / "model.onnx"
        assert installed.read_bytes() == (clinics / "best.onnx").read_bytes()
    assert _accuracy(clinics) > 0.9


def _says(log: Path, words: str) -> bool:
    return log.exists() and words in log.read_text()


def _accuracy(folder: Path) -> float:
    """Score the exported model on the test file that no clinic has."""
    table = np.loadtxt(folder / "test.csv", np.float32, delimiter=",", skiprows=1)
    session = onnxruntime.InferenceSession(str(folder / "best.onnx"), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"features": table[:, :-1]})
    return float((scores.argmax(axis=1) == table[:, -1]).mean())


def _environment(home: Path) -> dict[str, str]:
    """Move the default ports to free ones, so that the test may run beside anything: nothing else is changed."""
    http, grpc, enrol, mqtt = (f"127.0.0.1:{_free_port()}" for _ in range(4))
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HEADWATER_HTTP": http,
        "HEADWATER_GRPC": grpc,
        "HEADWATER_ENROL": enrol,
        "HEADWATER_MQTT": mqtt,
        "XDG_CONFIG_HOME": str(home),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
