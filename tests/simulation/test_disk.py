"""The disk that loses what was not fsynced: what it keeps, what it may lose, and what an install makes of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from headwater_agent.edges.models import FolderShelf
from headwater_agent.training.checkpoint import Place
from headwater_agent.training.engine import Score, Session, State
from headwater_agent.training.heads import newest_step
from headwater_agent.training.keeper import Keeper
from headwater_agent.training.protocol import Checkpoints
from headwater_wire import digests, durable
from headwater_wire.ids import ModelName, VersionId

from tests.simulation.disk import Disk, Disks, full

MODEL, VERSION = ModelName("m"), VersionId("m-1")
DRAWS = [f"draw {number}" for number in range(12)]


class Numbers:
    """Of a training what its checkpoint holds."""

    def state(self) -> State:
        """Show it."""
        return {"w": np.ones(3, np.float32)}


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    """Disks that hear of every fsync."""
    made = Disks(tmp_path)
    with made.heard():
        yield made


def found(disks: Disks, disk: Disk, draw: str) -> dict[str, bytes]:
    """Take the power away; read what is left."""
    left = disks.after_power_loss(disk, draw).files
    return {str(place.relative_to(left)): place.read_bytes() for place in sorted(left.rglob("*")) if place.is_file()}


def test_what_was_written_durably_is_there(disks: Disks) -> None:
    """Whatever is drawn."""
    for draw in DRAWS:
        disk = disks.new("box")
        durable.write(disk.files / "kept", b"bytes")
        assert disk.safe(disk.files / "kept")
        assert found(disks, disk, draw) == {"kept": b"bytes"}


def test_what_was_not_synced_may_be_lost_torn_or_there(disks: Disks) -> None:
    """All of that happens; and what was there before a rename may be there again."""
    seen = set()
    for draw in DRAWS:
        disk = disks.new("box")
        durable.write(disk.files / "name", b"old")
        (disk.files / "other").write_bytes(b"new bytes")
        (disk.files / "other").replace(disk.files / "name")
        assert not disk.safe(disk.files / "name")
        seen.add(found(disks, disk, draw).get("name"))
    assert seen == {b"old", b"new bytes", b"", b"new ", bytes(9)}


def test_what_is_written_into_a_synced_file_is_unsafe_until_it_is_synced_again(disks: Disks) -> None:
    """Its old bytes may be there, or the new ones, torn or whole: the fsync of a file is not for ever."""
    seen = set()
    for draw in [f"draw {number}" for number in range(40)]:
        disk = disks.new("box")
        place = disk.files / "name"
        durable.write(place, b"old bytes")
        with place.open("r+b") as file:
            file.write(b"new bytes")
        assert not disk.safe(place)
        seen.add(found(disks, disk, draw)["name"])
    assert seen == {b"old bytes", b"new bytes", b"", b"new ", bytes(9)}
    disk = disks.new("box")
    place = disk.files / "name"
    durable.write(place, b"old bytes")
    with place.open("r+b") as file:
        file.write(b"new bytes")
        file.flush()
        durable.fsync(file.fileno())
    assert disk.safe(place)
    assert found(disks, disk, "any draw") == {"name": b"new bytes"}


async def test_an_install_that_failed_at_its_last_fsync_is_there_once_it_is_told(disks: Disks) -> None:
    """The second attempt finds the files in place, and makes sure of them before it says so."""
    for draw in DRAWS:
        for failing in range(1, 12):
            disk = disks.new("box")
            asked = 0

            def fail(path: Path, failing: int = failing) -> None:
                nonlocal asked
                asked += 1
                if asked == failing:
                    raise full()

            shelf = FolderShelf(disk.files)
            disk.before_fsync = fail
            for _ in range(2):
                try:
                    onnx = disk.files / "fetched"
                    onnx.write_bytes(b"a graph")
                    if await shelf.find(MODEL, VERSION, digests.of_bytes(b"a graph")) is None:
                        await shelf.put(MODEL, VERSION, onnx)
                    await shelf.activate(MODEL, VERSION)
                    break
                except OSError:
                    continue
            left = disks.after_power_loss(disk, draw).files
            assert (left / "m" / "current" / "model.onnx").read_bytes() == b"a graph", (draw, failing)


def test_a_training_goes_on_from_its_first_checkpoint_after_a_power_loss(disks: Disks) -> None:
    """Its folder is as safe as the file in it."""
    for draw in DRAWS:
        disk = disks.new("box")
        (disk.files / "work").mkdir()
        durable.sync_directory(disk.files)
        kept = Checkpoints(str(disk.files / "work" / "task-1.checkpoints"), every_steps=1)
        Keeper(kept, "this one").passed(Place(1, 0.5, Score(0.7), 1.0), cast("Session", Numbers()))
        left = disks.after_power_loss(disk, draw).files
        assert newest_step(left / "work" / "task-1.checkpoints") == 1, draw
