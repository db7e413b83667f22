"""What the command line tells while every device is away: what is waited for, and since when."""

import sys
from collections.abc import Iterator

import pytest
from headwater.demo.processes import Process

from tests.headwater.shell import Shell
from tests.support.fleet import Fleet
from tests.support.waiting import until_now


@pytest.fixture(scope="module")
def away(digits: Fleet) -> Iterator[Fleet]:
    """Stop both boxes in good order."""
    for agent in digits.agents.values():
        agent.stop()
    until_now(lambda: not any(device.online for device in digits.client.devices.list()), "both are offline")
    yield digits


@pytest.fixture
def shell(away: Fleet, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Talk to the fleet."""
    return Shell(away.client.url, capsys, away.endpoints.env)


def test_a_run_that_has_to_wait_says_so_at_once(shell: Shell) -> None:
    """After the start, in the list's own words, and by run show."""
    said = shell.ok("run", "start", "--model", "digits", "--dataset", "digits")
    run = said.split()[0]
    why = f"{run} running: waits for 1 able device; of 2 in the cohort 2 are offline\n"
    assert said.endswith(why)
    assert shell.ok("run", "show", run).startswith(why)
    shell.ok("run", "cancel", run)


def test_watching_a_run_that_waits_tells_each_change(away: Fleet) -> None:
    """Without a terminal there is a line for what it waits for, for a pause, for going on, and for the end."""
    run = away.client.runs.start(model="digits", dataset="digits").id
    log = away.folder / "watch.log"
    command = [sys.executable, "-m", "headwater.cli", "run", "watch", run, "--url", away.client.url]
    with Process("watch", command, log, away.endpoints.env) as watching:
        until_now(lambda: f"{run} running: waits for 1 able device" in log.read_text(), "it says what it waits for")
        away.client.runs.pause(run)
        until_now(lambda: f"{run} paused\n" in log.read_text(), "it says that it is paused")
        away.client.runs.resume(run)
        until_now(lambda: f"{run} running" in log.read_text().partition("paused")[2], "it says that it goes on")
        away.client.runs.cancel(run)
        assert watching.wait(20) == 1
    assert log.read_text().endswith(f"{run} cancelled by an operator; newest version digits-1\n")


def test_a_rollout_says_who_is_away_since_when(shell: Shell) -> None:
    """In the place where a device's problem stands; watching one that was cancelled ends with 1."""
    rollout = shell.json("rollout", "start", "--version", "digits-1")["id"]
    assert shell.ok("rollout", "status", rollout).count("pending") == 3  # the sum, and a line a box
    assert shell.ok("rollout", "status", rollout).count("offline since 2") == 2
    shell.ok("rollout", "cancel", rollout)
    watched = shell("rollout", "status", rollout, "--watch")
    assert watched.code == 1
    assert "cancelled" in watched.out
    assert "offline" not in watched.out
