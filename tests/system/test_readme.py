"""The README's walk-through works as written."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import onnxruntime

from tests.support.waiting import until_now

ROOT = Path(__file__).parents[2]
SECTION = "## Your own model and your own csv in ten minutes"
READY = {"headwater serve": "headwater is ready", "headwater-agent run": "dataset tumours: "}


def commands() -> Iterator[str]:
    """Read the section's commands; one that continues over lines (a here-document) is one command."""
    section = (ROOT / "README.md").read_text("utf-8").split(SECTION)[1].split("\n## ")[0]
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        yield from (command.strip() for command in re.split(r"^\$ ", block, flags=re.MULTILINE) if command.strip())


def test_the_readmes_walk_through_ends_with_a_model_on_both_boxes(tmp_path: Path) -> None:
    """Each command of the README, as written, in its order: a second data set becomes a model that is installed."""
    environment = _environment()
    output = ""
    with _background() as running:
        for number, command in enumerate(commands()):
            command = command.replace("source .venv/bin/activate", "true")  # the test's own environment is used
            waits = next((ready for start, ready in READY.items() if command.startswith(start)), None)
            if waits:
                log = tmp_path / f"{number}.log"
                with log.open("wb") as file:
                    running.append(_start(command.rstrip("& "), tmp_path, environment, file))
                until_now(partial(_says, log, waits), f"{command}: {waits}")
                continue
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90
            )
            output += done.stdout
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "clinic-1" in output
    assert "completed: newest version tumours-11" in output
    for box in ("state-1", "state-2"):
        installed = tmp_path / "clinics" / box / "models" / "tumours" / "current" / "model.onnx"
        assert installed.read_bytes() == (tmp_path / "clinics" / "best.onnx").read_bytes()
    assert _accuracy(tmp_path / "clinics") > 0.9


def _says(log: Path, words: str) -> bool:
    return words in log.read_text()


def _accuracy(folder: Path) -> float:
    """Score the exported model on the test file that no clinic has."""
    table = np.loadtxt(folder / "test.csv", np.float32, delimiter=",", skiprows=1)
    session = onnxruntime.InferenceSession(str(folder / "best.onnx"), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"features": table[:, :-1]})
    return float((scores.argmax(axis=1) == table[:, -1]).mean())


def _environment() -> dict[str, str]:
    """Move the default ports to free ones, so that the test may run beside anything: nothing else is changed."""
    http, grpc, mqtt = (f"127.0.0.1:{_free_port()}" for _ in range(3))
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HEADWATER_HTTP": http,
        "HEADWATER_GRPC": grpc,
        "HEADWATER_MQTT": mqtt,
        "HEADWATER_URL": f"http://{http}",
        "HEADWATER_CONTROL_PLANE__GATEWAY": grpc,
        "HEADWATER_CONTROL_PLANE__BROKER": f"mqtt://{mqtt}",
    }


@contextmanager
def _background() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    try:
        yield running
    finally:
        for process in reversed(running):
            os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            process.wait(20)


def _start(command: str, folder: Path, environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=folder,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
