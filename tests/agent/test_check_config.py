"""`headwater-agent check-config`: the declarations first, then the data, as the running agent would look at it."""

from pathlib import Path

import numpy as np
import pytest
from headwater_agent.__main__ import main

CONFIG = """\
[agent]
id = "gate-7"
state_dir = "state"

[datasets.good]
format = "npz"
path = "good.npz"
[datasets.good.columns.image]
source = "image"
shape = [1, 2, 2]
[datasets.good.columns.label]
source = "label"
dtype = "int64"
"""
MISSING = """
[datasets.gone]
format = "csv"
path = "gone.csv"
columns = { label = { source = "class" } }
"""
UNLABELLED = """
[datasets.bare]
format = "npz"
path = "good.npz"
columns = { image = { source = "image" } }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration of one dataset that can be used."""
    np.savez(tmp_path / "good.npz", image=np.zeros((3, 2, 2), np.uint8), label=np.arange(3))
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG)
    return path


def checked(file: Path) -> int:
    """Check; give the exit code."""
    try:
        main(["check-config", "--config", str(file)])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_each_dataset_is_read_and_described(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each: how many examples, and of what. Nothing of the agent's own is made."""
    file.write_text(CONFIG + UNLABELLED)
    assert checked(file) == 0
    settings, good, bare = capsys.readouterr().out.splitlines()
    assert settings == f"{file}: every setting is fine; device gate-7, datasets: good, bare"
    assert good == "dataset good: 3 examples of image: float32[1, 2, 2], label: int64[]"
    assert bare.startswith("dataset bare: 3 examples of image: float32[2, 2] (no column is named label")
    assert not (file.parent / "state").exists()


def test_a_dataset_that_can_t_be_used_is_told_and_the_others_too(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and the sentence that the control plane would be told."""
    file.write_text(MISSING + CONFIG)
    assert checked(file) == 1
    _, gone, good = capsys.readouterr().out.splitlines()
    assert gone == f"dataset gone: {file.parent / 'gone.csv'} can't be read: No such file or directory"
    assert good.startswith("dataset good: 3 examples")


def test_a_wrong_configuration_is_named_and_nothing_is_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the place."""
    file.write_text("[agnet]\n")
    assert checked(file) == 2
    said = capsys.readouterr()
    assert "agent.toml:1: agnet is not known" in said.err
    assert said.out == ""


def test_without_datasets_there_is_nothing_to_look_at(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said that there are none."""
    file.write_text("[agent]\nid = 'gate-7'\n")
    assert checked(file) == 0
    assert capsys.readouterr().out.endswith("datasets: none\n")


@pytest.mark.parametrize("command", [("run",), ("check-config",), ("config", "show")])
def test_the_help_of_a_command_shows_an_example(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """It begins with the command itself."""
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    told = capsys.readouterr().out
    assert f"example: headwater-agent {' '.join(command)} --config agent.toml" in told
