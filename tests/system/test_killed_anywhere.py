"""Whoever is killed, wherever: the run ends, with the same bits as if nothing had happened."""

from pathlib import Path

from headwater.records import RunDetail

from tests.support.fleet import Crashes, Fleet, add_digit_boxes, fleet, import_digits, start_reproducible

DEVICES = 3
# Over several boxes: three deaths at training one task would put it on the denylist.
AGENT_STEPS = {
    "box-1": ("agent.trained", "agent.spooled", "agent.upload.half", "agent.receipt"),
    "box-2": ("agent.assigned", "agent.training"),
    "box-3": ("train.step:3^",),  # the worker in the middle of training, and the agent with it
}
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


def _compare(made: Fleet, *crashes: Crashes) -> None:
    """Run disturbed, then, every step having been passed, undisturbed from the same base."""
    made.wait_registered()
    base = import_digits(made)
    disturbed = made.finish(start_reproducible(made, base))
    assert [step for crash in crashes for step in crash.missed] == []
    deaths = len(made.deaths)
    calm = made.finish(start_reproducible(made, base))
    assert len(made.deaths) == deaths, "the run to compare with was disturbed too"
    assert [_digests(made, disturbed), _states(disturbed)] == [_digests(made, calm), _states(calm)]
    assert made.parameters(disturbed.run.version) != made.parameters(base), "nothing was learnt"


def _digests(made: Fleet, detail: RunDetail) -> list[str]:
    return [made.parameters(found.merged) for found in detail.rounds if found.merged]


def _states(detail: RunDetail) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """What was merged: every device's task once a round, succeeded, with its examples."""
    assert detail.run.state == "completed", detail.run.reason
    return [
        (found.state, [(task.device, task.state, task.metrics.examples if task.metrics else 0) for task in found.tasks])
        for found in detail.rounds
    ]
