"""A control plane that is lost with its disk, and restored from a backup that was taken in the middle of a run."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from headwater.records import Run
from headwater_control.backup import restore, take
from headwater_control.config import Settings

from tests.support.fleet import Fleet, add_digit_boxes, fleet, import_digits, start_reproducible
from tests.support.waiting import until_now

pytestmark = pytest.mark.long

ROUNDS = 10


def test_the_fleet_carries_on_with_a_restored_control_plane(tmp_path: Path) -> None:
    """Without a hand on a box: the run ends, what was shipped since is taken back, and who came since is in again."""
    with fleet(tmp_path) as made:
        add_digit_boxes(made, 3)
        made.wait_registered()
        base = import_digits(made)
        old = _roll_out(made, base)
        run = start_reproducible(made, base, rounds=ROUNDS)
        until_now(lambda: made.client.runs.show(run.id).run.round > 1, "some rounds are over")

        asyncio.run(take(Settings(data_dir=str(tmp_path / "control-plane")), tmp_path / "backup"))
        with closing(sqlite3.connect(tmp_path / "backup" / "headwater.db")) as database:
            assert database.execute("SELECT state FROM run").fetchall() == [("running",)]
        then = made.client.runs.show(run.id).run.round
        made.add("late", "")
        until_now(lambda: _went_on(made.client.runs.show(run.id).run, then), "rounds go on after the backup")
        until_now(lambda: "late" in made.registered(), "another box comes in after the backup")
        _roll_out(made, made.client.runs.show(run.id).rounds[-1].base)
        made.control.kill()
        shutil.rmtree(tmp_path / "control-plane")
        restore(tmp_path / "backup", tmp_path / "control-plane")

        detail = made.finish(run)
        assert detail.run.state == "completed", made.describe(run.id)
        again = [round for round in detail.rounds if round.state == "abandoned"]
        assert len(again) <= 1, "more than the round that was open in the backup was lost"
        until_now(lambda: "late" in made.registered(), "the other box is in again")
        until_now(
            lambda: _current(made, besides="late") == {old}, "what the restored database wants is installed again"
        )
        newest = _roll_out(made, detail.run.version)
        assert _current(made) == {newest}
        assert "control.restore" in {entry.action for entry in made.client.audit.list()}


def _went_on(run: Run, then: int) -> bool:
    return run.final or run.round > then + 1


def _roll_out(made: Fleet, version: str) -> str:
    """Install a version on all boxes that have registered; give it."""
    rollout = made.client.rollouts.wait(made.client.rollouts.start(version).id)
    assert {deployment.state for deployment in rollout.deployments} == {"installed"}
    return version


def _current(made: Fleet, besides: str = "") -> set[str]:
    """Say which versions the boxes have installed."""
    links = [box.installed / "digits" / "current" for box in made.boxes if box.id != besides]
    return {link.readlink().name for link in links}
