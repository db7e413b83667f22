"""What a child may touch: said at its start, by its job, and again when a dataset's file is another one."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.config import load
from headwater_agent.core.policy import Floor
from headwater_agent.edges.children import WarmWorker, warm_worker, worker_command
from headwater_agent.edges.enclosure import Enclosure, enclosure_of, readable
from headwater_agent.training import confinement
from headwater_agent.training.protocol import (
    Check,
    ColumnConfig,
    DatasetConfig,
    Inspect,
    Inspected,
    Job,
    Protect,
    Train,
)
from headwater_wire.messages import Plan

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


def job(dataset: DatasetConfig) -> Train:
    """Train on a dataset."""
    return Train("t1", "m", (), "b", "d", dataset, Plan())


def test_a_child_is_told_what_its_job_needs(tmp_path: Path, dataset: DatasetConfig) -> None:
    """Who trains reads graphs and data and writes to one folder; all others have either data, graphs or a delta."""
    enclosure = Enclosure("required", (dataset,), (tmp_path / "cache",), tmp_path / "work", 1 << 30)
    cache, data = ("--readable", str(tmp_path / "cache")), ("--readable", dataset.path)
    protect = Protect(str(tmp_path / "work" / "plain"), str(tmp_path / "guarded" / "delta"), 1, "f32", Floor())
    told: dict[Job, tuple[str, ...]] = {
        job(dataset): (*cache, *data, "--output", str(tmp_path / "work")),
        Inspect(dataset): data,
        Inspect(replace(dataset, path="/etc/passwd")): (),
        Check("onnx", "reference", 0.1): cache,
        protect: ("--readable", str(tmp_path / "work" / "plain"), "--output", str(tmp_path / "guarded")),
    }
    for each, paths in told.items():
        wanted = ("--confinement", "required", *paths, "--memory-limit", "1073741824")
        assert enclosure.view(each).arguments == wanted
        assert replace(enclosure, mode="off").view(each).arguments == (
            "--confinement", "off", "--memory-limit", "1073741824",
        )  # fmt: skip


def test_what_the_owner_bars_from_training_is_not_there_for_who_trains(tmp_path: Path) -> None:
    """By [policy] allow_datasets; the box itself may still look at it, in a child that opens no graph."""
    for name in ("open", "secret"):
        np.savez(tmp_path / f"{name}.npz", x=np.ones((2, 2), np.float32))
    (tmp_path / "agent.toml").write_text(
        f'''agent = {{ id = "box-1", state_dir = "{tmp_path}" }}
control_plane.insecure = true
policy.allow_datasets = ["open"]
datasets.open = {{ format = "npz", path = "{tmp_path}/open.npz", columns.x.source = "x" }}
datasets.secret = {{ format = "npz", path = "{tmp_path}/secret.npz", columns.x.source = "x" }}
'''
    )
    config = load(tmp_path / "agent.toml", {})
    enclosure, (allowed, barred) = enclosure_of(config), config.datasets
    for each in (allowed, barred):
        seen = enclosure.view(job(each)).arguments
        assert allowed.path in seen and barred.path not in seen
        assert each.path in enclosure.view(Inspect(each)).arguments


def test_a_view_changes_with_the_files_behind_it(dataset: DatasetConfig) -> None:
    """One that comes, goes or is replaced; not one that is written to."""
    enclosure, path = Enclosure("preferred", (dataset,)), Path(dataset.path)
    views = [enclosure.view(job(dataset))]
    write(path, 1)
    views.append(enclosure.view(job(dataset)))
    write(path, 2)
    views.append(enclosure.view(job(dataset)))
    assert len(set(views)) == 3
    with path.open("ab") as file:
        file.write(b"more")
    assert enclosure.view(job(dataset)) == views[-1]


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
