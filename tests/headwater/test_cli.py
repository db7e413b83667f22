"""The command line: what each command prints, and with which code it ends."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from headwater.cli.app import app, main
from headwater.cli.options import labels
from headwater.cli.output import out, table
from headwater.client import Client
from headwater.demo.processes import Process
from headwater.examples import classifier
from onnx import numpy_helper

from tests.support.fleet import Fleet
from tests.support.waiting import until_now

NOBODY = "http://127.0.0.1:1"


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process."""

    def __init__(self, url: str, capture: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capture = capture

    def __call__(self, *arguments: str) -> Said:
        """Run one."""
        os.environ["HEADWATER_URL"] = self._url
        try:
            with pytest.raises(SystemExit) as ended:
                main(arguments)
        finally:
            del os.environ["HEADWATER_URL"]
        out, err = self._capture.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    def ok(self, *arguments: str) -> str:
        """Run one that succeeds; give what it printed."""
        said = self(*arguments)
        assert said.code == 0, said
        return said.out

    def json(self, *arguments: str) -> Any:
        """Run one with --json."""
        return json.loads(self.ok(*arguments, "--json"))


@pytest.fixture
def shell(digits: Fleet, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Talk to the fleet."""
    return Shell(digits.client.url, capsys)


@pytest.fixture
def alone(capsys: pytest.CaptureFixture[str]) -> Shell:
    """Talk to nobody."""
    return Shell(NOBODY, capsys)


def commands(group: Any, *path: str) -> list[tuple[tuple[str, ...], Any]]:
    """List every command with its path."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, command in group.commands.items():
        found += commands(command, *path, name) if hasattr(command, "commands") else [((*path, name), command)]
    return found


EVERY = commands(typer.main.get_command(app))


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_every_command_explains_itself(path: tuple[str, ...], command: Any, alone: Shell) -> None:
    """Help has a sentence and an example that begins with the command itself."""
    assert command.help
    if path != ("demo",):
        assert str(command.epilog).startswith(f"Example: headwater {' '.join(path)}")
    assert "Usage" in alone.ok(*path, "--help")


def test_the_version_is_told(alone: Shell) -> None:
    """headwater --version."""
    assert alone.ok("--version").startswith("headwater ")


@pytest.mark.parametrize("arguments", [("device", "list"), ("run", "show", "run-1"), ("run", "watch", "run-1")])
def test_a_failure_is_one_sentence(alone: Shell, arguments: tuple[str, ...]) -> None:
    """No trace, exit code 1, and what to do."""
    said = alone(*arguments)
    (line,) = said.err.splitlines()
    assert (said.code, said.out) == (1, "")
    assert line.startswith("error: can't reach the control plane at http://127.0.0.1:1")
    assert "headwater serve" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "start", "--model", "digits"),
        ("run", "start", "--model", "m", "--dataset", "d", "--rounds", "few"),
        ("run", "start", "--model", "m", "--dataset", "d", "--cohort", "north"),
        ("rollout", "start", "--version", "v", "--to", "=x"),
        ("nonsense",),
    ],
)
def test_a_misspelt_command_is_refused_before_anything_is_asked(alone: Shell, arguments: tuple[str, ...]) -> None:
    """Exit code 2, as for every program."""
    assert alone(*arguments).code == 2


def test_labels_are_read_by_comma_or_by_repeating() -> None:
    """Both spellings, together or alone."""
    assert labels(["a=1,b=2", "c=x=y"]) == {"a": "1", "b": "2", "c": "x=y"}
    assert labels(None) == {}


def test_the_control_plane_started_in_this_folder_is_found(
    digits: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --url or HEADWATER_URL, endpoints.json of ./headwater-data tells where it is."""
    (tmp_path / "headwater-data").symlink_to(digits.folder / "control-plane")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["model", "list"])
    assert ended.value.code == 0
    assert "digits" in capsys.readouterr().out


def test_a_run_from_start_to_export(shell: Shell, tmp_path: Path) -> None:
    """Started with --watch it prints a line a round and its end; list, show and export know it."""
    said = shell("run", "start", "--model", "digits", "--dataset", "digits", "--rounds", "1", "--lr", "0.1", "--watch")
    assert said.code == 0, said
    run = said.out.split()[0]
    assert f"{run} started" in said.out
    assert "round 1: committed, 2 of 2 reported" in said.out
    assert f"{run} completed" in said.out
    assert run in shell.ok("run", "list", "--state", "completed")
    shown = shell.ok("run", "show", run)
    assert shown.count("succeeded") == 4
    assert "box-1" in shown
    version = shell.json("run", "show", run)["run"]["version"]
    assert version in shell.ok("version", "list", "digits")
    assert str(tmp_path / "model.onnx") in shell.ok("version", "export", version, "--to", str(tmp_path / "model.onnx"))
    assert (tmp_path / "model.onnx").stat().st_size > 50_000


def test_a_run_is_steered(shell: Shell, client: Client) -> None:
    """pause, resume, cancel, and the exit code of watching one that did not complete."""
    asked = ("--rounds", "1000", "--cohort", "role=edge,box=box-1", "--reproducible", "--deadline", "300")
    run = shell.json("run", "start", "--model", "digits", "--dataset", "digits", *asked)
    assert run["spec"]["cohort"] == {"role": "edge", "box": "box-1"}
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert shell.ok("run", verb, run["id"]) == f"{run['id']} is {state}\n"
    assert shell("run", "watch", run["id"]).code == 1
    assert shell("run", "resume", run["id"]).code == 1
    assert client.runs.show(run["id"]).run.state == "cancelled"


def test_a_version_is_imported_and_rolled_out(shell: Shell, tmp_path: Path) -> None:
    """rollout start --watch ends with 0 once every box has it; status and list tell."""
    tensors = classifier.digits_classifier(seed=2).graph.initializer
    np.savez(tmp_path / "new.npz", **{tensor.name: numpy_helper.to_array(tensor) for tensor in tensors})
    version = shell.json("version", "import", str(tmp_path / "new.npz"), "--model", "digits")["id"]
    said = shell("rollout", "start", "--version", version, "--to", "role=edge", "--watch")
    assert said.code == 0, said
    rollout = said.out.split(":")[0]
    assert shell.ok("rollout", "status", rollout).count("installed") == 3  # the sum, and a line a box
    assert rollout in shell.ok("rollout", "list", "--model", "digits")
    assert shell("rollout", "cancel", rollout).code == 1


def test_devices_and_models_are_shown(shell: Shell) -> None:
    """Tables for people, JSON for programs."""
    assert "box-2" in shell.ok("device", "list", "--label", "box=box-2")
    assert "box-1" not in shell.ok("device", "list", "--label", "box=box-2")
    assert "not training" in shell.ok("device", "show", "box-1")
    assert shell.json("device", "show", "box-1")["device"]["labels"]["box"] == "box-1"
    assert [device["id"] for device in shell.json("device", "list")] == ["box-1", "box-2"]
    assert "digits-1" in shell.ok("model", "show", "digits")
    assert shell.json("model", "list")[0]["name"] == "digits"
    assert shell("model", "show", "none").code == 1


def test_ctrl_c_stops_the_watching_and_not_the_run(digits: Fleet, client: Client, tmp_path: Path) -> None:
    """On a terminal the picture is live; interrupted, it says that the run goes on, with exit code 130."""
    run = client.runs.start(model="digits", dataset="digits", rounds=1000)
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "headwater.cli", "run", "watch", run.id, "--url", client.url],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = b""

    def shows(words: bytes) -> bool:
        nonlocal seen
        with suppress(BlockingIOError):
            seen += os.read(ours, 65_536)
        return words in seen

    try:
        until_now(lambda: shows(b"box-1"), "the device is in the picture")
        watching.send_signal(signal.SIGINT)
        until_now(lambda: shows(b"goes on"), "it says so")
        assert watching.wait(20) == 130
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)
    assert not client.runs.show(run.id).run.final
    client.runs.cancel(run.id)


def test_serve_without_the_server_s_libraries_says_what_to_install(tmp_path: Path) -> None:
    """The base installation has not what headwater_control needs: one sentence, not an import error."""
    code = "import sys; sys.modules['uvloop'] = None; from headwater.cli.app import main; main(['serve'])"
    data = {"HEADWATER_DATA_DIR": str(tmp_path)}
    with Process("serve", [sys.executable, "-c", code], tmp_path / "log", data) as serve:
        assert serve.wait(20) == 1
    assert "pip install 'headwater[control]'" in serve.tail()
    assert "Traceback" not in serve.tail()


def test_nothing_is_cut_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe has no width: ids must not be shortened to 80 columns."""
    out.print(table(("A", "B", "C"), [("x" * 60, "y" * 60, "z" * 60)]))
    assert f"{'x' * 60}  {'y' * 60}  {'z' * 60}" in capsys.readouterr().out
