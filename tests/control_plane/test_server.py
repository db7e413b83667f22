"""`headwater serve` as a process: it starts, refuses to start, stops, and carries on."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import onnx
import pytest
from headwater.client import Client
from headwater.demo.processes import ControlPlane, Process
from headwater.errors import Unreachable
from headwater.examples import classifier
from headwater_control import server
from headwater_control.__main__ import run
from headwater_control.service.coordinator import Coordinator

from tests.support.waiting import until_now
from tests.support.warm import launch

STOP_S = 20.0


def refusal(capfd: pytest.CaptureFixture[str], data: Path, config: Path | None = None, **flags: str) -> str:
    """Start what can't start, in this process; give the one line it said. (gRPC's own is off only if we load it.)"""
    free = dict.fromkeys(("http", "grpc", "mqtt"), "127.0.0.1:0")
    assert run(config, {"data_dir": str(data), **free, **flags}) == 2
    told = capfd.readouterr().err
    assert "Traceback" not in told
    (line,) = [line for line in told.splitlines() if line.startswith("headwater serve: ")]
    return line


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One running control plane for those who only look."""
    with ControlPlane(tmp_path_factory.mktemp("control") / "data", launch=launch) as running:
        running.ready()
        yield running


def test_it_says_in_one_line_where_it_is(control: ControlPlane) -> None:
    """The line has the ports it really has, as endpoints.json does."""
    at = control.ready()
    told = json.loads((control.log.parent / "endpoints.json").read_text())
    assert told == {"http": at.http, "grpc": at.grpc, "mqtt": at.mqtt, "enrol": at.enrol, "pid": control.pid}
    (line,) = [line for line in control.tail().splitlines() if "is ready" in line]
    assert all(place in line for place in (at.http, at.grpc, at.mqtt, at.enrol))
    assert not any(place.endswith(":0") for place in (at.http, at.grpc, at.mqtt, at.enrol))


def test_a_second_one_on_the_same_data_is_refused(control: ControlPlane, capfd: pytest.CaptureFixture[str]) -> None:
    """It names the process that has it, and the first one goes on."""
    line = refusal(capfd, control.log.parent)
    assert f"process {control.pid}" in line
    assert "--data-dir" in line
    assert control.ready().pid == control.pid


@pytest.mark.parametrize("name", ["http", "grpc", "enrol", "mqtt"])
def test_a_port_in_use_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    """The message says which address, and how to choose another."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refusal(capfd, tmp_path, None, **{name: place})
    assert f"{name} can't listen on {place}" in line
    assert f"--{name} 127.0.0.1:PORT" in line


def test_it_refuses_to_be_reached_from_elsewhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Before anything is made on the disk."""
    assert "Leave `insecure` out" in refusal(capfd, tmp_path, grpc="0.0.0.0:0", insecure="true")
    assert not any(tmp_path.iterdir())


def test_a_database_that_cannot_be_had_is_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No trace, whatever the driver raises."""
    line = refusal(capfd, tmp_path, database="postgresql://127.0.0.1:1/none")
    assert "the database can't be opened" in line


def test_a_broker_that_does_not_answer_is_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, and then named."""
    monkeypatch.setattr(server, "_READY_WITHIN_S", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        line = refusal(capfd, tmp_path, insecure="true", broker=f"mqtt://127.0.0.1:{silent.getsockname()[1]}")
    assert "the MQTT broker did not let it listen" in line
    assert "Does `broker` name the right one?" in line


def test_a_database_that_stays_busy_is_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not taken for a broker's fault."""

    def time_is_up(_: Coordinator) -> bool:
        raise TimeoutError  # it is asked once the broker lets us listen, and never came to the end of its first look

    monkeypatch.setattr(Coordinator, "ready", property(time_is_up))
    line = refusal(capfd, tmp_path)
    assert "the database did not let it look after its runs" in line
    assert "Does `database` name the right one?" in line


def test_a_database_that_is_not_there_is_refused_beside_blobs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before any of them is swept as nobody's: the sentence says to correct the setting, or to restore."""
    blob = tmp_path / "blobs" / "objects" / "ab" / f"ab{62 * '0'}"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"what boxes learnt")
    assert "correct `database`, or restore the last backup" in refusal(capfd, tmp_path)
    assert blob.exists()
    assert not (tmp_path / "headwater.db").exists()


def test_a_damaged_database_is_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Which says to restore; every further start says it too, and changes nothing."""
    (tmp_path / "headwater.db").write_bytes(b"no database, for long enough that it could be one" * 100)
    for _ in range(2):
        line = refusal(capfd, tmp_path)
        assert "the database is damaged: `headwater restore` the last backup (file is not a database)" in line
    assert (tmp_path / "headwater.db").read_bytes().startswith(b"no database")


@pytest.mark.parametrize("note", [b"", b"\xff\xfe", b"[]", b'{"made_at": "yesterday"}', b"{}"])
def test_a_damaged_note_of_a_restore_is_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], note: bytes
) -> None:
    """Nothing has happened since: it is restored again."""
    (tmp_path / "restored.json").write_bytes(note)
    line = refusal(capfd, tmp_path, grpc="127.0.0.1:0")
    assert f"{tmp_path / 'restored.json'} is damaged: empty the folder, and restore the backup again" in line


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file where the data directory should be is named."""
    (tmp_path / "file").write_text("")
    assert f"can't use {tmp_path / 'file'} as data_dir" in refusal(capfd, tmp_path / "file")


def test_an_unknown_key_stops_the_command(tmp_path: Path) -> None:
    """Key, file and line are named, and the exit code is 2."""
    file = tmp_path / "headwater.toml"
    file.write_text('data_dir = "x"\ntypo = 1\n')
    with ControlPlane(tmp_path / "data", arguments=("--config", str(file))) as process:
        assert process.wait(STOP_S) == 2
    assert f"{file}, line 2: unknown key 'typo'" in process.tail()


def test_a_stop_is_clean_and_the_next_start_carries_on(tmp_path: Path) -> None:
    """Exit code 0, nothing announced any more; a later process on the same data knows what was stored."""
    data = tmp_path / "data"
    onnx.save(classifier.digits_classifier(), tmp_path / "digits.onnx")
    with ControlPlane(data) as first, first.ready().client() as client:
        made = client.models.import_file(tmp_path / "digits.onnx", loss="cross_entropy")
        first.terminate()
        assert first.wait(STOP_S) == 0
        with pytest.raises(Unreachable, match="headwater serve"):
            client.models.list()
    assert not (data / "endpoints.json").exists()
    with ControlPlane(data) as second, second.ready().client() as client:
        assert client.models.show("digits") == made.model
        assert client.versions.list("digits") == (made.version,)


def test_the_first_admin_token_is_shown_once(tmp_path: Path) -> None:
    """By the first start, with how to log in; not by the second, where it is good all the same."""
    first, at = told_by_a_start(tmp_path, "")
    (token,) = re.findall(r"The first admin token is shown only now:\n  (\S+)\n", first)
    assert f"headwater login {at} --ca-fingerprint sha256:" in first
    second, _ = told_by_a_start(tmp_path, token)
    assert token not in second
    assert "admin token" not in second


def told_by_a_start(folder: Path, token: str) -> tuple[str, str]:
    """Start one that has no file for the first token, call it with `token`, stop it; give what it said and its URL."""
    data, log = folder / "data", folder / f"{len(token)}.log"
    flags = [f"--{name}=127.0.0.1:0" for name in ("http", "grpc", "mqtt", "enrol")]
    command = [sys.executable, "-m", "headwater.cli", "serve", "--data-dir", str(data), *flags]
    with Process("the control plane", command, log, launch=launch) as serving:
        until_now(lambda: "headwater is ready" in serving.tail(), "it is ready")
        at = str(json.loads((data / "endpoints.json").read_text())["http"])
        if token:
            with Client(at, token=token, ca=data / "ca" / "root.pem") as client:
                assert client.models.list() == ()
        serving.terminate()
        assert serving.wait(STOP_S) == 0
    return log.read_text(), at


def test_after_a_kill_it_starts_again_at_once_and_ctrl_c_stops_it(tmp_path: Path) -> None:
    """A lock, a lease or addresses left behind by a dead process are in nobody's way."""
    data = tmp_path / "data"
    with ControlPlane(data) as first:
        at = first.ready()
        first.kill()
    with ControlPlane(data, at=at) as second:
        assert second.ready().http == at.http
        os.kill(second.pid, signal.SIGINT)
        assert second.wait(STOP_S) == 0
