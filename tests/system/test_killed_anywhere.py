"""Whoever is killed, wherever: the run ends, with the same bits as if nothing had happened."""

from pathlib import Path

import pytest

from tests.support.fleet import Crashes, Fleet, add_digit_boxes, fleet, import_digits, start_reproducible
from tests.support.noise import NOISE_TOML, save_noise
from tests.support.outcomes import digests_of, states_of
from tests.support.wide_model import save_wide_model

pytestmark = pytest.mark.long

DEVICES = 3
# Over several boxes: three deaths at training one task would put it on the denylist.
AGENT_STEPS = {
    "box-1": ("agent.trained", "agent.spooled", "agent.upload.half", "agent.receipt"),
    "box-2": ("agent.assigned", "agent.training"),
    "box-3": ("train.step:3^",),  # the worker in the middle of training, and the agent with it
}
SIDE = 1500  # SIDE × SIDE float32 are 18 chunks
CONTROL_STEPS = (
    "control.delta.blob",
    "control.delta.committed",
    "control.collecting",
    "merge.half^",  # the merge's child half-way, and the control plane with it
    "control.merging",
    "control.round.committed",
)


def test_an_agent_killed_at_any_step_of_its_task_changes_no_bit_of_the_result(tmp_path: Path) -> None:
    """A reproducible run whose agent dies at every step merges each delta once, to the bits of an undisturbed run."""
    crashes = {box: Crashes(tmp_path / "guards" / box, *steps) for box, steps in AGENT_STEPS.items()}
    with fleet(tmp_path) as made:
        add_digit_boxes(made, DEVICES, env={box: crash.env for box, crash in crashes.items()})
        _compare(made, *crashes.values())
        assert sorted(made.deaths) == sorted(box for box, steps in AGENT_STEPS.items() for _ in steps)


def test_a_control_plane_killed_while_collecting_or_merging_changes_no_bit_of_the_result(tmp_path: Path) -> None:
    """A control plane, and its broker, that dies at every step of a round resumes, and merges each delta once."""
    crashes = Crashes(tmp_path / "guards", *CONTROL_STEPS)
    with fleet(tmp_path, env=crashes.env) as made:
        add_digit_boxes(made, DEVICES)
        _compare(made, crashes)
        assert made.deaths == ["control plane"] * len(CONTROL_STEPS)


def test_an_agent_killed_half_way_through_a_large_delta_goes_on_from_there(tmp_path: Path) -> None:
    """Of a delta of many chunks only the missing ones are sent again, and the result is the same to the bit."""
    crashes = Crashes(tmp_path / "guards", "agent.upload.half")
    with fleet(tmp_path) as made:
        save_noise(tmp_path / "box-1", SIDE, examples=16)
        made.add("box-1", NOISE_TOML, env=crashes.env)
        made.wait_registered()
        save_wide_model(tmp_path / "wide.onnx", SIDE)
        base = made.client.models.import_file(tmp_path / "wide.onnx", loss="mse").version.id

        def run() -> tuple[list[str], object]:
            detail = made.finish(
                made.client.runs.start(
                    model="wide", dataset="noise", rounds=1, base=base, seed=7, learning_rate=10.0, reproducible=True
                )
            )
            return digests_of(made, detail), states_of(detail)

        disturbed = run()
        assert (crashes.missed, made.deaths) == ([], ["box-1"])
        log = made.agents["box-1"].log.read_text()
        assert "resuming the upload at " in log, log
        assert run() == disturbed


def _compare(made: Fleet, *crashes: Crashes) -> None:
    """Run disturbed, then, every step having been passed, undisturbed from the same base."""
    made.wait_registered()
    base = import_digits(made)
    disturbed = made.finish(start_reproducible(made, base))
    assert [step for crash in crashes for step in crash.missed] == []
    deaths = len(made.deaths)
    calm = made.finish(start_reproducible(made, base))
    assert len(made.deaths) == deaths, "the run to compare with was disturbed too"
    assert [digests_of(made, disturbed), states_of(disturbed)] == [digests_of(made, calm), states_of(calm)]
    assert made.parameters(disturbed.run.version) != made.parameters(base), "nothing was learnt"
