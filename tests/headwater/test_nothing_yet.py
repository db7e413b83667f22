"""A new control plane: each list says what to do first."""

from collections.abc import Iterator

import pytest
from headwater.demo.processes import ControlPlane

from tests.headwater.shell import Shell
from tests.support.warm import launch


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start one that knows nothing."""
    with ControlPlane(tmp_path_factory.mktemp("control") / "data", secure=False, launch=launch) as control:
        yield control.ready().http


@pytest.mark.parametrize(
    ("noun", "advice"),
    [
        ("device", "headwater device invite"),
        ("model", "headwater model import"),
        ("version", "headwater model import"),
        ("run", "headwater run start"),
        ("rollout", "headwater rollout start"),
    ],
)
def test_an_empty_list_says_what_to_do(url: str, capsys: pytest.CaptureFixture[str], noun: str, advice: str) -> None:
    """People get a hint, programs an empty list."""
    shell = Shell(url, capsys)
    assert advice in shell.ok(noun, "list")
    assert shell.json(noun, "list") == []


def test_a_list_of_some_states_does_not_speak_of_all(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing has failed yet; that is no reason to start a run."""
    assert Shell(url, capsys).ok("run", "list", "--state", "failed") == (
        "no run is in that state: headwater run list shows all\n"
    )
