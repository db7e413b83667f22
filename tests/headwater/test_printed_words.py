"""Words from devices and graphs reach the terminal as they are, whatever they look like."""

from datetime import UTC, datetime

import pytest
from headwater.cli import device, run
from headwater.records import Device, DeviceDetail, Inventory, Round, Run, RunDetail, RunSpec, Scores, Task

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = "x is float32[batch,8], [/srv/x] [bold] broke"  # by rich's markup: an unknown style, a tag's end, a style
SPEC = RunSpec("m", "x", "m-1", 1, {}, 0, 1.3, 0.5, 600.0, 120.0, "fedavg", 1, 32, 0.1, 0.2, 0, False)


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    """Read what was printed, in one line."""
    return " ".join(capsys.readouterr().out.split())


def test_why_a_box_is_not_training_is_printed_as_it_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A host's name, an engine's and a reason keep their brackets."""
    box = Device("box-1", NOW, True, inventory=Inventory(hostname="[/host]", machine="[dim]"), engines=("[red]",))
    device.describe(DeviceDetail(box, (), (), (WORDS,)))
    said = shown(capsys)
    assert f"not training: {WORDS}" in said
    assert "[/host]: [dim]," in said
    assert "engines: [red]" in said


def test_why_a_round_failed_is_printed_as_it_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    """The reasons of a run, of its round and of a task keep their brackets."""
    task = Task("t-1", "run-1", 1, "box-1", "failed", NOW, NOW, reason=f"3 {WORDS}")
    found = Round(1, "abandoned", "m-1", False, NOW, 1, 1, Scores(), (task,), closed_at=NOW, reason=f"2 {WORDS}")
    run.describe(RunDetail(Run("run-1", SPEC, "failed", "m-1", 1, NOW, reason=f"1 {WORDS}"), (found,)))
    said = shown(capsys)
    for number in (1, 2, 3):
        assert f"{number} {WORDS}" in said
