"""What the training child may touch: said at its start, and again when a dataset's file is another one."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.edges.children import WarmWorker, warm_worker, worker_command
from headwater_agent.edges.enclosure import Enclosure, readable
from headwater_agent.training import confinement
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig, Inspect, Inspected

needs_all = pytest.mark.skipif(bool(confinement.lacking()), reason="this kernel can't confine all that is tried here")


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetConfig:
    """Declare a dataset whose file is not there yet."""
    return DatasetConfig("numbers", "npz", str(tmp_path / "numbers.npz"), (ColumnConfig("x", ("x",)),))


def write(path: Path, examples: int) -> None:
    """Write a dataset as tools do that let nobody see half of it: under another name first."""
    np.savez(path.with_name("new.npz"), x=np.zeros((examples, 2), np.float32))
    path.with_name("new.npz").replace(path)


async def card(worker: WarmWorker, dataset: DatasetConfig) -> tuple[int, str]:
    """Have a dataset looked at; give its examples, and what is wrong with it."""
    reply = await worker.run(Inspect(dataset), lambda step: None)
    assert isinstance(reply, Inspected)
    return reply.card.examples, reply.card.problem


def test_a_child_is_told_what_it_may_touch(tmp_path: Path, dataset: DatasetConfig) -> None:
    """Datasets and folders to read, one folder to write to, and the memory if that is limited."""
    enclosure = Enclosure("required", (dataset,), (tmp_path / "cache",), tmp_path / "work", 1 << 30)
    assert enclosure.view().arguments == (
        "--confinement", "required", "--readable", str(tmp_path / "cache"), "--readable", dataset.path,
        "--output", str(tmp_path / "work"), "--memory-limit", "1073741824",
    )  # fmt: skip
    assert replace(enclosure, mode="off").view().arguments == ("--confinement", "off", "--memory-limit", "1073741824")


def test_a_view_changes_with_the_files_behind_it(tmp_path: Path, dataset: DatasetConfig) -> None:
    """One that comes, goes or is replaced; not one that is written to."""
    enclosure, path = Enclosure("preferred", (dataset,)), Path(dataset.path)
    views = [enclosure.view()]
    write(path, 1)
    views.append(enclosure.view())
    write(path, 2)
    views.append(enclosure.view())
    assert len(set(views)) == 3
    with path.open("ab") as file:
        file.write(b"more")
    assert enclosure.view() == views[-1]


def test_links_in_an_idx_folder_are_followed(tmp_path: Path) -> None:
    """They are the owner's word; others in the folder lead nowhere."""
    folder = tmp_path / "idx"
    folder.mkdir()
    (folder / "images.gz").symlink_to("../store")
    (folder / "other").symlink_to("../secret")
    config = DatasetConfig("digits", "idx", str(folder), (ColumnConfig("x", ("images",)),))
    assert list(readable(config)) == [folder, Path(os.path.realpath(tmp_path / "store"))]


@needs_all
async def test_a_dataset_that_is_replaced_is_read_anew(dataset: DatasetConfig, tmp_path: Path) -> None:
    """A warm child sees what was there when it started: another one takes its place."""
    enclosure = Enclosure("required", (dataset,))
    async with warm_worker(worker_command("constant"), idle_s=60, nice=0, enclosure=enclosure) as worker:
        assert "No such file" in (await card(worker, dataset))[1]
        for examples in (3, 5):
            write(Path(dataset.path), examples)
            assert await card(worker, dataset) == (examples, "")
        other = tmp_path / "other.npz"
        write(other, 1)
        assert "Permission denied" in (await card(worker, replace(dataset, path=str(other))))[1]


def test_the_child_imports_nothing_from_where_the_agent_was_started() -> None:
    """A module that lies about there is not ours."""
    assert worker_command("portable")[:3] == (sys.executable, "-P", "-m")
