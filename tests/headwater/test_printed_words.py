"""Words from devices and graphs reach the terminal as they are, whatever they look like."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest
from headwater.cli import device, run
from headwater.decode import decode
from headwater.records import (
    NOT_YET,
    Condition,
    Dataset,
    Device,
    DeviceDetail,
    Inventory,
    Round,
    Run,
    RunDetail,
    RunSpec,
    Scores,
    Task,
)
from headwater_agent import survey
from headwater_control.core import runs as core
from headwater_wire.ids import ModelName, VersionId

from tests.headwater.impostor import impostor
from tests.headwater.shell import Shell

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = "x is float32[batch,8], [/srv/x] [bold] broke"  # by rich's markup: an unknown style, a tag's end, a style
ASKED = core.RunSpec(ModelName("m"), "x", VersionId("m-1"), rounds=1)
SPEC = decode(RunSpec, {**asdict(ASKED), "cohort": {}})


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    """Read what was printed, in one line."""
    return " ".join(capsys.readouterr().out.split())


def test_why_a_box_is_not_training_is_printed_as_it_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A host's name, an engine's and a reason keep their brackets."""
    box = Device("box-1", NOW, True, inventory=Inventory(hostname="[/host]", machine="[dim]"), engines=("[red]",))
    conditions = (Condition("power", "ok"), Condition("gpu", "unknown"), Condition("hours", "unmet", f"it is {WORDS}"))
    device.describe(DeviceDetail(replace(box, conditions=conditions), (), (), (WORDS,)))
    said = shown(capsys)
    assert f"conditions ok: power conditions unknown: gpu condition hours: it is {WORDS}" in said
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


def test_a_dataset_that_is_still_being_looked_at_is_not_called_unusable(capsys: pytest.CaptureFixture[str]) -> None:
    """The agent says it by the words of its survey, which client and agent must spell alike."""
    assert survey.NOT_YET == NOT_YET
    cards = (Dataset("new", 0, problem=NOT_YET), Dataset("broken", 0, problem="it is empty"), Dataset("good", 7))
    listed = json.dumps([asdict(Device("box-1", NOW, True, datasets=cards))], default=str).encode()
    with impostor(200, {}, listed) as url:
        assert "new(being looked at),broken(unusable),good(7)" in Shell(url, capsys).ok("device", "list")


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        ("running", "", "run-1 running m on x"),
        ("running", "waits for 1 able device", "run-1 running: waits for 1 able device m on x"),
        ("cancelled", "cancelled by an operator", "run-1 cancelled by an operator m on x"),
    ],
)
def test_a_run_s_state_and_the_reason_read_as_one_sentence(
    capsys: pytest.CaptureFixture[str], state: str, reason: str, told: str
) -> None:
    """A separator between them, and nothing said twice; no table is drawn of a round that asked nobody."""
    waiting = Round(1, "selecting", "m-1", False, NOW, 1, 1, Scores(), (), reason=f"a long reason {'word ' * 20}")
    run.describe(RunDetail(Run("run-1", SPEC, state, "m-1", 1, NOW, reason=reason), (waiting,)))
    said = capsys.readouterr().out
    assert " ".join(said.split()).startswith(told)
    assert f"\nround 1 selecting: {waiting.reason}\n" in said
    assert "DEVICE" not in said
