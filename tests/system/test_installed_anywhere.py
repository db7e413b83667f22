"""A rollout reaches every box, whatever dies on the way, and what is installed is always whole."""

import hashlib
from contextlib import suppress
from pathlib import Path

import onnxruntime
import pytest
from headwater.errors import Unreachable

from tests.support.fleet import Crashes, Fleet, add_digit_boxes, fleet, import_digits
from tests.support.waiting import until_now

pytestmark = pytest.mark.long

STEPS = ("agent.install.fetched", "agent.install.linked")


def test_a_box_killed_while_installing_has_a_whole_model_and_ends_with_the_new_one(tmp_path: Path) -> None:
    """Killed after the fetch and after the switch, an agent finishes the install and reports it once."""
    crashes = Crashes(tmp_path / "guards", *STEPS)
    with fleet(tmp_path) as made:
        add_digit_boxes(made, 3, env={"box-1": crashes.env}, engine="constant")
        made.wait_registered()
        first = import_digits(made)
        rollout = made.client.rollouts.start(first, to={"role": "edge"})
        _finish(made, rollout.id)
        assert crashes.missed == []
        assert made.deaths == ["box-1"] * len(STEPS)
        exported = made.client.versions.export(first, tmp_path / "exported.onnx")
        wanted = hashlib.sha256(exported.read_bytes()).hexdigest()
        for box in made.boxes:
            current = box.installed / "digits" / "current" / "model.onnx"
            assert hashlib.sha256(current.read_bytes()).hexdigest() == wanted
            onnxruntime.InferenceSession(str(current), providers=["CPUExecutionProvider"])


def test_a_rollout_survives_the_control_plane(tmp_path: Path) -> None:
    """A control plane killed while boxes install knows afterwards who has what, and a later version replaces it."""
    with fleet(tmp_path) as made:
        add_digit_boxes(made, 3, engine="constant")
        made.wait_registered()
        first = import_digits(made)
        rollout = made.client.rollouts.start(first)
        made.control.kill()
        _finish(made, rollout.id)
        second = made.client.versions.import_file(
            made.client.versions.export(first, tmp_path / "again.onnx"), model="digits"
        )
        _finish(made, made.client.rollouts.start(second.id).id)
        for box in made.boxes:
            versions = box.installed / "digits"
            assert (versions / "current").resolve().name == second.id
            assert first in {path.name for path in versions.rglob("*")}, "the previous version is kept"
        assert made.control.exit_code() is None


def _finish(made: Fleet, rollout: str) -> None:
    def ended() -> bool:
        made.revive()
        with suppress(Unreachable):  # it is just starting again
            return made.client.rollouts.show(rollout).rollout.final
        return False

    until_now(ended, "the rollout ends", patience_s=60)
    states = {found.device: (found.state, found.problem) for found in made.client.rollouts.show(rollout).deployments}
    assert states == {box.id: ("installed", "") for box in made.boxes}
