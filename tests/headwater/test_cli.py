"""The command line: what each command prints, and with which code it ends."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from headwater import credentials
from headwater.cli.app import app, main
from headwater.cli.options import ENDPOINTS, labels
from headwater.cli.output import out, table
from headwater.client import Client
from headwater.credentials import Login
from headwater.defaults import LOSSES, OPTIMIZERS, RUN, STRATEGIES
from headwater.demo.processes import Process
from headwater.examples import classifier
from headwater_control import strategies
from headwater_control.core.runs import RunSpec
from headwater_wire import manifest
from onnx import numpy_helper

from tests.headwater.shell import Shell
from tests.support.fleet import Fleet
from tests.support.waiting import until_now

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def shell(digits: Fleet, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Talk to the fleet."""
    return Shell(digits.client.url, capsys, digits.endpoints.env)


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


ROOT: Any = typer.main.get_command(app)
EVERY = commands(ROOT)
GROUPS = [(name, group) for name, group in ROOT.commands.items() if hasattr(group, "commands")]


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_every_command_explains_itself(path: tuple[str, ...], command: Any, alone: Shell) -> None:
    """Help has a sentence, an example that begins with the command itself, and a word on each argument and option."""
    assert command.help
    assert str(command.epilog).startswith(f"Example: headwater {' '.join(path)}")
    assert [parameter.name for parameter in command.params if not parameter.help] == []
    assert "Usage" in alone.ok(*path, "--help")


@pytest.mark.parametrize(("name", "group"), GROUPS)
def test_every_group_shows_an_example(name: str, group: Any) -> None:
    """It begins with one of its own commands."""
    words = str(group.epilog).split()
    assert words[:3] == ["Example:", "headwater", name]
    assert words[3] in group.commands


def test_the_defaults_that_help_tells_are_the_control_plane_s() -> None:
    """They are written down twice, since a client has no server's code; and each is told."""
    real = {field.name: field.default for field in fields(RunSpec)}
    assert {name: real[name] for name in RUN} == RUN
    assert STRATEGIES == strategies.NAMES
    assert (OPTIMIZERS, LOSSES) == (manifest.OPTIMIZERS, manifest.LOSSES)
    start = ROOT.commands["run"].commands["start"]
    told = " ".join(parameter.help for parameter in start.params)
    assert all(f"(default: {default})" in told for default in RUN.values())


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
    monkeypatch.setenv("HEADWATER_TOKEN", digits.endpoints.env["HEADWATER_TOKEN"])
    monkeypatch.setenv("HEADWATER_CA", digits.endpoints.env["HEADWATER_CA"])
    with pytest.raises(SystemExit) as ended:  # a folder may name any address: the environment's token is not for it
        main(["model", "list"])
    assert ended.value.code == 1
    assert "this needs a token" in capsys.readouterr().err
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    login = Login(digits.endpoints.env["HEADWATER_TOKEN"], "")
    credentials.save(credentials.load().with_login(digits.client.url, login))
    with pytest.raises(SystemExit) as ended:
        main(["model", "list"])
    assert ended.value.code == 0
    assert "digits" in capsys.readouterr().out


@pytest.mark.parametrize("alive", [True, False])
def test_an_address_left_behind_is_named_or_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], alive: bool
) -> None:
    """Where nobody answers at endpoints.json's address: it is named if its process lives, and ignored if not."""
    with Process("ended", [sys.executable, "-c", ""], tmp_path / "log") as ended:
        ended.wait(20)
    told = {"http": NOBODY, "pid": os.getpid() if alive else ended.pid}
    monkeypatch.chdir(tmp_path)
    ENDPOINTS.parent.mkdir()
    ENDPOINTS.write_text(json.dumps(told))
    monkeypatch.setattr("headwater.client.DEFAULT_URL", "http://127.0.0.1:2")
    with pytest.raises(SystemExit) as failed:
        main(["model", "list"])
    assert failed.value.code == 1
    said = capsys.readouterr().err
    assert (NOBODY in said, "http://127.0.0.1:2" in said) == (alive, not alive)
    for word in ("./headwater-data/endpoints.json", "--url", "HEADWATER_URL"):
        assert (word in said) is alive


def test_a_run_from_start_to_export(shell: Shell, tmp_path: Path) -> None:
    """Started with --watch it prints a line a round and its end; list, show and export know it."""
    said = shell("run", "start", "--model", "digits", "--dataset", "digits", "--rounds", "1", "--lr", "0.1", "--watch")
    assert said.code == 0, said
    run = said.out.split()[0]
    assert f"{run} started" in said.out
    assert "round 1: committed, 2 of 2 reported" in said.out
    assert "round 2: scored, 2 of 2 reported" in said.out
    assert f"{run} completed; newest version" in said.out
    assert run in shell.ok("run", "list", "--state", "completed")
    shown = shell.ok("run", "show", run)
    assert shown.count("succeeded") == 4
    assert "box-1" in shown
    assert "round 2 scored\n" in shown
    assert "committed" not in shown.partition("round 2 scored")[2]
    assert "not shown" not in shown
    assert "\nround 1 is not shown: headwater run show" in shell.ok("run", "show", run, "--last", "1")
    (last,) = shell.json("run", "show", run, "--last", "1")["rounds"]
    assert last["number"] == 2
    version = shell.json("run", "show", run)["run"]["version"]
    assert version in shell.ok("version", "list", "digits")
    written = tmp_path / "made" / "model.onnx"
    first, second = (shell.ok("version", "export", version, "--to", str(written)) for _ in range(2))
    assert str(written) in first
    assert ("replaced" in first, "replaced" in second) == (False, True)
    assert written.stat().st_size > 50_000


def test_a_run_is_steered(shell: Shell, client: Client) -> None:
    """pause, resume, cancel, and the exit code of watching one that did not complete."""
    asked = ("--rounds", "1000", "--cohort", "role=edge,box=box-1", "--reproducible", "--deadline", "300")
    run = shell.json("run", "start", "--model", "digits", "--dataset", "digits", *asked)
    assert run["spec"]["cohort"] == {"role": "edge", "box": "box-1"}
    until_now(lambda: bool(client.runs.show(run["id"]).rounds), "its first round begins")
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert shell.ok("run", verb, run["id"]) == f"{run['id']} is {state}\n"
    watched = shell("run", "watch", run["id"])
    assert watched.code == 1
    assert f"{run['id']} cancelled by an operator; newest version digits-" in watched.out
    assert shell("run", "resume", run["id"]).code == 1
    detail = client.runs.show(run["id"])
    assert detail.run.state == "cancelled"
    shown = shell.ok("run", "show", run["id"])
    assert shown.startswith(f"{run['id']} cancelled by an operator\n")
    last = detail.rounds[-1]  # between two rounds there is none to abandon
    ended = "abandoned: the run was cancelled by an operator" if last.state == "abandoned" else "committed"
    assert f"round {last.number} {ended}\n" in shown
    listed = shell.ok("run", "list", "--state", "cancelled")
    assert "box=box-1,role=edge" in listed or "role=edge,box=box-1" in listed


@pytest.mark.parametrize(
    ("asked", "flag"),
    [
        (("run", "start", "--model", "digits", "--dataset", "digits", "--lr", "0"), "--lr: "),
        (("run", "start", "--model", "digits", "--dataset", "digits", "--lr", "nan"), "--lr: "),
        (("run", "start", "--model", "digits", "--dataset", "digits", "--batch", "0"), "--batch: "),
        (("run", "start", "--model", "digits", "--dataset", "digits", "--over-select", "0"), "--over-select: "),
        (("run", "start", "--model", "digits", "--dataset", "digits", "--cohort", "a b=c"), "--cohort: "),
        (("rollout", "start", "--version", "digits-1", "--to", "a b=c"), "--to: "),
        (("rollout", "start", "--version", "no/version"), "--version: "),
    ],
)
def test_a_value_that_the_control_plane_refuses_is_named_by_its_flag(
    shell: Shell, asked: tuple[str, ...], flag: str
) -> None:
    """As the parser does: exit code 2, and the command line's own words."""
    said = shell(*asked)
    assert said.code == 2, said
    assert flag in said.err


def test_a_file_that_can_t_be_imported_is_called_as_the_user_calls_it(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the name that it has on the control plane."""
    monkeypatch.chdir(tmp_path)
    np.savez("lack.npz", other=np.zeros(2, np.float32))
    Path("noise.npz").write_bytes(b"noise" * 9)
    Path("noise.onnx").write_bytes(b"noise")
    Path("empty.npz").touch()
    onnx.save(classifier.digits_classifier(), "digits.onnx")

    def refused(*arguments: str) -> str:
        said = shell(*arguments)
        assert said.code == 1, said
        assert "upload" not in said.err
        return said.err

    of_digits = ("--model", "digits")
    assert refused("version", "import", "lack.npz", *of_digits).startswith(
        "error: lack.npz: 8 of 8 parameters are missing in the file, such as "
    )
    assert refused("version", "import", "noise.npz", *of_digits).startswith("error: noise.npz: the file holds no ")
    assert refused("version", "import", "empty.npz", *of_digits) == "error: empty.npz is empty\n"
    assert refused("model", "import", "noise.onnx", "--loss", "mse").startswith("error: noise.onnx: the file is no ")
    assert refused("model", "import", "digits.onnx", "--loss", "mse").endswith("choose another name, with --name\n")
    odd = shell("model", "import", "digits.onnx", "--loss", "mse", "--name", "a b")
    assert (odd.code, "--name: " in odd.err) == (2, True)


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
    assert "headwater device list shows all" in shell.ok("device", "list", "--label", "box=box-9")
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
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, **digits.endpoints.env, "TERM": "xterm", "COLUMNS": "120"},
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


def test_a_model_is_checked_before_it_is_imported(shell: Shell, tmp_path: Path) -> None:
    """What trains, what is frozen and why, and what a step takes; nothing is kept."""
    file = tmp_path / "unseen.onnx"
    onnx.save(classifier.digits_classifier(), file)
    options = ("--loss", "cross_entropy", "--trainable", "last:1", "--batch", "8")
    told = shell.ok("model", "check", str(file), *options)
    for words in ("scores.weight", "10×64", "no: no selector names it", "650 trainable numbers", "at batch 8", " ms"):
        assert words in told
    assert "unseen" not in shell.ok("model", "list")
