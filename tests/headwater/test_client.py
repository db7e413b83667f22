"""The SDK against a real control plane with two real boxes."""

import hashlib
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from headwater.client import Client
from headwater.errors import Conflict, Damaged, HeadwaterError, Invalid, NotFound, Unexpected, Unfinished, Unreachable
from headwater.examples import classifier
from headwater.runs import Runs
from headwater.transport import T, Transport
from onnx import numpy_helper

from tests.headwater.impostor import impostor
from tests.support.fleet import Fleet

WITHIN_S = 60.0


def test_a_run_is_started_watched_and_its_version_exported(client: Client, tmp_path: Path) -> None:
    """Every change is told, the last one is final, and what is exported is whole."""
    run = client.runs.start(
        model="digits", dataset="digits", rounds=1, learning_rate=0.1, quorum=1.0, clients_per_round=2
    )
    told = list(client.runs.watch(run.id, timeout_s=WITHIN_S))
    assert told[-1].run.state == "completed"
    detail = client.runs.wait(run.id)
    assert [(found.state, found.evaluate) for found in detail.rounds] == [("committed", False), ("committed", True)]
    assert detail.rounds[0].scores.reported == 2
    assert 0 <= (detail.rounds[1].scores.holdout_accuracy or -1) <= 1
    assert detail.run in client.runs.list(["completed"])
    assert detail.run not in client.runs.list(["running", "failed"])
    moved: list[tuple[int, int]] = []
    written = client.versions.export(detail.run.version, tmp_path, on_bytes=lambda *at: moved.append(at))
    assert written == tmp_path / f"{detail.run.version}.onnx"
    onnx.checker.check_model(str(written))
    assert moved[-1] == (written.stat().st_size, written.stat().st_size)
    assert [path.name for path in tmp_path.iterdir()] == [written.name]


def test_a_run_is_paused_resumed_and_cancelled(client: Client) -> None:
    """Each verb answers with the new state; what has ended can't be steered."""
    run = client.runs.start(model="digits", dataset="digits", rounds=1000, cohort={"role": "edge"}, seed=3)
    assert client.runs.pause(run.id).state == "paused"
    assert client.runs.resume(run.id).state == "running"
    with pytest.raises(Unfinished, match=run.id):
        client.runs.wait(run.id, timeout_s=0.2)
    assert client.runs.cancel(run.id).state == "cancelled"
    assert client.runs.wait(run.id, timeout_s=WITHIN_S).run.final
    with pytest.raises(Conflict):
        client.runs.resume(run.id)


def test_retrained_parameters_become_a_version(client: Client, tmp_path: Path) -> None:
    """npz by parameter name; a rollout of it reaches both boxes."""
    graph = classifier.digits_classifier(seed=1)
    np.savez(tmp_path / "retrained.npz", **{t.name: numpy_helper.to_array(t) for t in graph.graph.initializer})
    version = client.versions.import_file(tmp_path / "retrained.npz", model="digits")
    assert version == client.versions.show(version.id)
    assert (version.run, version.model) == (None, "digits")
    rollout = client.rollouts.start(version.id, to={"role": "edge"})
    detail = client.rollouts.wait(rollout.id, timeout_s=WITHIN_S)
    assert [(item.device, item.state) for item in detail.deployments] == [
        ("box-1", "installed"),
        ("box-2", "installed"),
    ]
    assert client.rollouts.list("digits")[-1].state == "completed"
    with pytest.raises(Conflict):
        client.rollouts.cancel(rollout.id)


def test_devices_say_what_they_are(client: Client) -> None:
    """Filtered by labels; one in detail with its dataset's schema."""
    assert [device.id for device in client.devices.list({"box": "box-2"})] == ["box-2"]
    detail = client.devices.show("box-1")
    assert detail.device.online
    assert [card.name for card in detail.device.datasets] == ["digits"]
    assert {column.name for column in detail.device.datasets[0].columns} >= {"label"}


def test_errors_have_their_kind_and_a_sentence(client: Client, tmp_path: Path) -> None:
    """What the server refuses arrives as the error named for it."""
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    onnx.save(classifier.digits_classifier(), tmp_path / "digits.onnx")
    with pytest.raises(NotFound, match="box-9"):
        client.devices.show("box-9")
    with pytest.raises(NotFound, match="run-9"):
        next(client.runs.watch("run-9"))
    with pytest.raises(Conflict, match="digits"):
        client.models.import_file(tmp_path / "digits.onnx", loss="cross_entropy")
    with pytest.raises(Invalid):
        client.models.import_file(tmp_path / "noise.onnx", loss="cross_entropy")
    with pytest.raises(Invalid, match="can't read"):
        client.models.import_file(tmp_path / "missing.onnx", loss="cross_entropy")
    with pytest.raises(Invalid, match="unknown kind"):
        client.versions.import_file(tmp_path / "parameters.pt", model="digits")
    with pytest.raises(Invalid, match="rounds"):
        client.runs.start(model="digits", dataset="digits", rounds=0)
    with pytest.raises(Invalid, match="can't write"):
        client.versions.export("digits-1", tmp_path / "noise.onnx" / "below")


def test_nobody_there_is_said(tmp_path: Path) -> None:
    """The address and the likely cause stand in the message; nothing is left of a failed export."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(url) as client:
        for call in (client.models.list, client.health, lambda: client.versions.export("digits-1", tmp_path)):
            with pytest.raises(Unreachable, match=rf"{url}.*headwater serve"):
                call()
        with pytest.raises(Unreachable):
            next(client.runs.watch("run-1"))
    assert not any(tmp_path.iterdir())


def test_a_damaged_download_is_not_kept(tmp_path: Path) -> None:
    """What doesn't have the digest announced never gets its name, and what was there stays."""
    (tmp_path / "model.onnx").write_bytes(b"the one before")
    digest = hashlib.sha256(b"the model").hexdigest()
    answer = impostor(200, {"etag": f'"{digest}"'}, b"the mudel")
    with answer as url, Client(url) as client, pytest.raises(Damaged, match="export it again"):
        client.versions.export("digits-1", tmp_path / "model.onnx")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the one before"]


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (200, b'{"ready": 1}'), (500, b"oops"), (502, b"{}")])
def test_an_answer_that_makes_no_sense_is_an_error_too(status: int, body: bytes) -> None:
    """Another program on the port, or a broken server: a sentence, whatever comes."""
    with impostor(status, {}, body) as url, Client(url) as client, pytest.raises(Unexpected):
        client.health()


class NotingTransport(Transport):
    """Keeps what is posted, and reaches nobody."""

    posted: dict[str, Any] | None = None

    def post(self, kind: type[T], path: str, body: dict[str, Any] | None = None) -> T:
        """Note it."""
        self.posted = body
        raise Unreachable(self.url, "nobody is asked")


def test_a_run_is_asked_for_in_the_caller_s_words_only() -> None:
    """What is not given is not sent, so that the control plane's defaults hold; 0 and an empty cohort are given."""
    with closing(NotingTransport("http://127.0.0.1:1", 1.0)) as transport:
        for given in ({}, {"seed": 0, "cohort": {}, "reproducible": False, "base": "m-1"}):
            with pytest.raises(Unreachable):
                Runs(transport).start(model="m", dataset="d", **given)  # type: ignore[arg-type]
            assert transport.posted == {"model": "m", "dataset": "d", **given}


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument beats HEADWATER_URL, which beats the default."""
    monkeypatch.setenv("HEADWATER_URL", "http://127.0.0.1:1/")
    assert Client().url == "http://127.0.0.1:1"
    assert Client("http://127.0.0.1:2").url == "http://127.0.0.1:2"
    monkeypatch.delenv("HEADWATER_URL")
    assert Client().url == "http://127.0.0.1:8080"


def test_every_error_is_of_one_family() -> None:
    """One except clause is enough."""
    for kind in (Conflict, Damaged, Invalid, NotFound, Unexpected, Unfinished, Unreachable):
        assert issubclass(kind, HeadwaterError)


def test_watching_outlives_a_restart_of_the_control_plane(digits: Fleet) -> None:
    """Killed in mid-run and started again, it is watched to the end by the same iterator."""
    run = digits.client.runs.start(model="digits", dataset="digits", rounds=2)
    watching = digits.client.runs.watch(run.id, timeout_s=WITHIN_S)
    assert not next(watching).run.final
    digits.control.kill()
    digits.revive()
    *_, last = watching
    assert last.run.state == "completed"
