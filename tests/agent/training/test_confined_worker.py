"""The worker under confinement: it trains as well as free, and touches nothing that it was not given."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.training import confinement
from headwater_agent.training.protocol import (
    Broke,
    Check,
    ColumnConfig,
    DatasetConfig,
    Inspect,
    Inspected,
    Refused,
    Reply,
    Train,
    Trained,
    dump,
    load,
)
from headwater_wire.messages import Plan

from tests.agent.training import bundles
from tests.agent.training.workers import Worker
from tests.support.training_build import needs_training_build

pytestmark = pytest.mark.skipif(bool(confinement.lacking()), reason="this kernel can't confine all that is tried here")


@pytest.fixture
def job(tmp_path: Path) -> Train:
    """A job whose files lie apart: bundle, data, output."""
    files = bundles.linear(tmp_path / "cache")
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 100)
    x = random.standard_normal((100, 4)) + np.eye(3, 4)[label] * 3
    np.savez(tmp_path / "data.npz", x=x.astype(np.float32), label=label)
    (tmp_path / "work").mkdir()
    columns = (ColumnConfig("x", ("x",)), ColumnConfig("label", ("label",), dtype="int64"))
    return Train(
        "task-1", str(files.manifest_path), files.blobs, str(files.base_path), str(tmp_path / "work" / "delta"),
        DatasetConfig("parts", "npz", str(tmp_path / "data.npz"), columns),
        Plan(epochs=3, batch_size=8, learning_rate=0.2, seed=5, holdout=0.25, threads=3),
    )  # fmt: skip


def arguments(folder: Path, *more: str) -> tuple[str, ...]:
    """Say what a worker of that job may touch."""
    readable = ("--readable", str(folder / "cache"), "--readable", str(folder / "data.npz"))
    return ("--confinement", "required", *readable, "--output", str(folder / "work"), *more)


@pytest.fixture
def worker(tmp_path: Path, job: Train) -> Iterator[Worker]:
    """A confined worker."""
    with Worker(confinement=arguments(tmp_path)) as started:
        yield started


@pytest.mark.parametrize("engine", ["portable", pytest.param("native", marks=needs_training_build)])
def test_training_under_confinement_gives_the_same_bits(tmp_path: Path, job: Train, engine: str) -> None:
    """With several threads, by the real engine: the delta is that of a worker without any confinement."""
    with Worker(engine) as free:
        unconfined = free.do(replace(job, delta_path=job.delta_path + ".2"))
    with Worker(engine, confinement=arguments(tmp_path)) as worker:
        confined = worker.do(job)
        assert worker.end() == (0, ""), "and nothing complained"
    assert isinstance(confined, Trained) and isinstance(unconfined, Trained)
    assert confined.delta == unconfined.delta
    assert Path(job.delta_path).read_bytes() == Path(job.delta_path + ".2").read_bytes()


def test_a_confined_worker_says_so_to_whoever_looks(worker: Worker) -> None:
    """/proc tells of no new privileges and of a filter, on every thread."""
    worker.do(Inspect(DatasetConfig("none", "npz", "/nowhere", (ColumnConfig("x", ("x",)),))))
    for task in Path(f"/proc/{worker.process.pid}/task").iterdir():
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")


@pytest.mark.parametrize("field", ["manifest_path", "base_path"])
def test_a_job_that_names_other_files_is_refused(worker: Worker, job: Train, tmp_path: Path, field: str) -> None:
    """Even the daemon's own word leads nowhere else."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(Path(getattr(job, field)).read_bytes())
    reply = worker.do(replace(job, **{field: str(elsewhere)}))  # type: ignore[arg-type]
    assert isinstance(reply, Refused) and "Permission denied" in reply.reason
    assert isinstance(worker.do(job), Trained)


def test_a_dataset_that_was_not_named_cannot_be_read(worker: Worker, job: Train, tmp_path: Path) -> None:
    """It stands in the card."""
    other = tmp_path / "other.npz"
    other.write_bytes(Path(job.dataset.path).read_bytes())
    reply = worker.do(Inspect(replace(job.dataset, path=str(other))))
    assert isinstance(reply, Inspected) and "Permission denied" in reply.card.problem


def test_a_delta_is_written_to_the_output_folder_only(worker: Worker, job: Train, tmp_path: Path) -> None:
    """Another place is a failure of this try."""
    reply = worker.do(replace(job, delta_path=str(tmp_path / "delta")))
    assert isinstance(reply, Broke) and "Permission denied" in reply.reason
    assert not (tmp_path / "delta").exists()


def test_a_memory_limit_leaves_room_to_train(tmp_path: Path, job: Train) -> None:
    """A gibibyte is enough for a small model; what happens beyond: test_memory_limit.py."""
    with Worker(confinement=arguments(tmp_path, "--memory-limit", str(1 << 30))) as enough:
        assert isinstance(enough.do(job), Trained)


def test_a_worker_that_is_told_nothing_may_read_nothing(job: Train) -> None:
    """Confinement is the default of the worker itself: who forgets to say what it may touch loses no data."""
    with Worker(confinement=()) as closed:
        reply = closed.do(Inspect(job.dataset))
        assert isinstance(reply, Inspected) and "Permission denied" in reply.card.problem
        checked = closed.do(Check("/nowhere", job.base_path, 1e-4))
        assert "Permission denied" in str(checked)


def test_the_folder_it_is_started_in_is_not_readable(job: Train, tmp_path: Path) -> None:
    """Python finds modules there, if it is not told otherwise; an agent started in / must not open the whole disk."""
    command = [sys.executable, "-m", "headwater_agent.training.worker"]
    done = subprocess.run(command, input=dump(Inspect(job.dataset)), capture_output=True, cwd=tmp_path, timeout=60)
    assert b"Permission denied" in done.stdout


_PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdin.write(sys.stdin.buffer.readline()); child.stdin.flush()
child.stdout.readline()  # a step: it trains
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_agent_takes_a_confined_worker_along(tmp_path: Path, job: Train) -> None:
    """The kernel's signal at a parent's death comes from outside, and is let in."""
    worker = [sys.executable, "-P", "-m", "headwater_agent.training.worker", *arguments(tmp_path)]
    long = replace(job, plan=replace(job.plan, epochs=100_000, batch_size=1))
    command = [sys.executable, "-c", _PARENT, *worker]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        parent.stdin.write(dump(long))
        parent.stdin.flush()
        ended = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([ended], [], [], 60)[0], "the worker outlived its agent"
    finally:
        os.close(ended)


_ON_AN_OLD_KERNEL = """\
import os, sys
from dataclasses import replace
from headwater_agent.training import kernel, seccomp
from headwater_agent.training.system_calls import PROCESSORS
kernel.renounce_new_privileges()
without_landlock = replace(PROCESSORS[kernel.machine()], denied={"landlock_create_ruleset": 444})
seccomp.install(seccomp.assemble(without_landlock, os.getpid()))
os.execv(sys.executable, [sys.executable, "-P", "-m", "headwater_agent.training.worker", *sys.argv[1:]])
"""


def on_an_old_kernel(job: Train, *more: str) -> list[Reply]:
    """Have a worker look at a dataset and train, where Landlock is not to be had; give the answers."""
    command = [sys.executable, "-P", "-c", _ON_AN_OLD_KERNEL, *more]
    done = subprocess.run(command, input=dump(Inspect(job.dataset)) + dump(job), capture_output=True, timeout=60)
    replies = [load(line) for line in done.stdout.splitlines()]
    return [reply for reply in replies if isinstance(reply, Inspected | Refused | Trained)]


def test_where_the_kernel_lacks_a_part_the_mode_decides(tmp_path: Path, job: Train) -> None:
    """Preferred: it trains all the same. Required: it looks at the owner's data, and refuses what came from afar."""
    required = arguments(tmp_path)
    looked, refused = on_an_old_kernel(job, *required)
    assert isinstance(looked, Inspected) and looked.card.problem == ""
    assert isinstance(refused, Refused)
    assert "the kernel has no landlock, landlock-truncate, landlock-network" in refused.reason
    looked, trained = on_an_old_kernel(job, "--confinement", "preferred", *required[2:])
    assert isinstance(trained, Trained)
