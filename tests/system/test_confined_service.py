"""Agent and control plane under their units' restrictions, put up by hand: PID 1 of a test is not systemd."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from headwater.demo.boxes import Box, make_box
from headwater.demo.processes import Agent, ControlPlane
from headwater.examples import classifier, digits

from tests.support import units
from tests.support.fleet import Fleet, fleet, import_digits, start_reproducible
from tests.support.waiting import until_now

pytestmark = pytest.mark.long

UNIT, CONTROL = "headwater-agent.service", "headwater-control.service"


def test_a_box_enrols_trains_and_installs_under_the_units_restrictions(tmp_path: Path) -> None:
    """By the invitation that systemd hands over; the training child confines itself all the same; systemd is fed."""
    _require_a_sandbox()
    told = _told_by()
    with fleet(tmp_path) as made, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        state = tmp_path / "box"
        box = _box(state, made)
        manager.bind(str(state / "notify"))
        manager.setblocking(False)
        with _confined(box, state) as agent:
            until_now(lambda: "box" in made.registered(), "box registers")
            assert made.client.devices.show("box").device.unconfined == (), "the training child can't confine itself"
            status = _status(agent.pid)
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
            assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
            assert "0" not in status["Uid"].split()

            detail = made.finish(start_reproducible(made, import_digits(made), rounds=1))
            assert detail.run.state == "completed", agent.tail()
            rollout = made.client.rollouts.start(detail.run.version)
            deployments = made.client.rollouts.wait(rollout.id).deployments
            assert [deployment.state for deployment in deployments] == ["installed"], agent.tail()
            until_now(lambda: {"READY=1", "WATCHDOG=1"} <= told(manager), "systemd is told")
        installed = state / "state" / "models" / "digits" / "current" / "model.onnx"
        places = [installed, *list(installed.parents)[:3]]
        assert all(place.stat().st_mode & 0o004 for place in places), "the box's applications can't open it"
        assert not (state / "state" / "journal.db").stat().st_mode & 0o077


def test_a_control_plane_imports_a_model_under_its_units_restrictions(tmp_path: Path) -> None:
    """All its ports are open, its child compiles and runs the model, and its files are its own."""
    _require_a_sandbox()
    assert units.read(CONTROL).given["ExecStart"] == (
        "/opt/headwater/bin/headwater serve --config /etc/headwater/headwater.toml",
    )
    state = tmp_path / "state"
    state.mkdir()
    onnx.save(classifier.digits_classifier(), tmp_path / "digits.onnx")
    prefix = (sys.executable, "-m", "tests.support.sandbox", CONTROL, str(state))
    env = {"PYTHONPATH": str(units.FOLDER.parents[1])}
    with ControlPlane(state / "headwater", prefix=prefix, env=env) as control, control.ready().client() as client:
        assert _status(control.pid)["Seccomp"] == "2"
        assert client.models.import_file(tmp_path / "digits.onnx", loss="cross_entropy").version.number == 1
    made = [place for place in (state / "headwater").rglob("*") if place.name != "serve.log"]
    assert made and not any(place.lstat().st_mode & 0o077 for place in made), "others may read what it keeps"


def _box(folder: Path, made: Fleet) -> Box:
    """Make a box that is handed an invitation, with data that its dynamic user can read."""
    credentials = folder / "credentials"
    credentials.mkdir(parents=True)
    (credentials / "headwater.invitation").write_text(f"{made.client.devices.invite('box').token}\n")
    digits.shards(5).devices[0].save(folder / "digits.npz")
    return make_box(folder, "box", made.endpoints, digits.DATASET_TOML.format(path='"digits.npz"'))


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _told_by() -> Callable[[socket.socket], set[str]]:
    """Make what collects everything that systemd was told."""
    heard: set[str] = set()

    def told(manager: socket.socket) -> set[str]:
        with suppress(BlockingIOError):
            while True:
                heard.update(manager.recv(4096).decode().splitlines())
        return heard

    return told


def _require_a_sandbox() -> None:
    """Skip where neither root nor user namespaces are to be had, or no systemd-analyze; CI may not."""
    lacking = "" if shutil.which("systemd-analyze") else "systemd-analyze is not installed"
    if os.geteuid() and subprocess.run(["unshare", "--user", "--mount", "true"], capture_output=True).returncode:
        lacking = "this user may not make namespaces"
    if lacking and not os.environ.get("CI"):
        pytest.skip(lacking)
    assert not lacking, f"{lacking}, and CI may not skip what needs it"


def _confined(box: Box, state: Path) -> Agent:
    """Start the agent as ExecStart says, with the test's places."""
    program, *arguments = units.read(UNIT).given["ExecStart"][0].split()
    assert (program, arguments) == (
        "/opt/headwater/bin/headwater-agent",
        ["run", "--config", "/etc/headwater/agent.toml"],
    )
    env = {
        "CREDENTIALS_DIRECTORY": str(state / "credentials"),
        "NOTIFY_SOCKET": str(state / "notify"),
        "WATCHDOG_USEC": "2000000",
        "PYTHONPATH": str(units.FOLDER.parents[1]),
    }
    return box.start(env=env, prefix=(sys.executable, "-m", "tests.support.sandbox", UNIT, str(state)))
