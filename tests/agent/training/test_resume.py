"""A training that was cut short goes on, and nobody can tell from its bits."""

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.training.client_update import Update, update
from headwater_agent.training.datasets import Dataset, open_dataset
from headwater_agent.training.engines import engine
from headwater_agent.training.errors import Interrupted
from headwater_agent.training.keeper import Keeper
from headwater_agent.training.protocol import Checkpoints, ColumnConfig, DatasetConfig, Stopped, Train, Trained
from headwater_control.compiler.autodiff.optimizers import OPTIMIZERS, Options
from headwater_wire.crashpoint import VARIABLE
from headwater_wire.messages import Plan

from tests.agent.training import bundles
from tests.agent.training.workers import DEADLINE_S, Worker
from tests.support.training_build import needs_training_build

PLAN = Plan(epochs=3, batch_size=8, learning_rate=0.02, seed=5, holdout=0.25, threads=1, clip_norm=0.5, proximal=0.1)
STEPS = 1 + 3 * 10  # one scores; of 74 examples the last batch of an epoch has two
EVERY_WAY = [
    *(
        (name, memory, optimizer)
        for name, memory in (("portable", "normal"), ("portable", "small"))
        for optimizer in OPTIMIZERS
    ),
    pytest.param("native", "normal", "sgd", marks=needs_training_build),  # the native engine has no other
]


def data(folder: Path) -> DatasetConfig:
    """Write a hundred examples of three classes."""
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 100)
    x = random.standard_normal((100, 4)) + np.eye(3, 4)[label] * 3
    np.savez(folder / "data.npz", x=x.astype(np.float32), label=label)
    columns = (ColumnConfig("x", ("x",)), ColumnConfig("label", ("label",), dtype="int64"))
    return DatasetConfig("parts", "npz", str(folder / "data.npz"), columns)


class Life:
    """One attempt at the training: a session of its own, ended when it is asked to stop after so many steps."""

    def __init__(self, how: tuple[str, str], files: bundles.Files, dataset: Dataset, folder: Path) -> None:
        self.how, self.files, self.dataset, self.folder = how, files, dataset, folder
        self.taken: list[int] = []

    def run(self, until: int | None = None) -> Update | None:
        """Train; None: it was stopped."""
        self.taken.clear()
        session = engine(*self.how).open(self.files.bundle, threads=1)
        kept = Checkpoints(str(self.folder), every_s=0)
        keeper = Keeper(kept, "t1", lambda: until is not None and len(self.taken) >= until)
        try:
            return update(session, self.dataset, self.files.base, PLAN, self._step, "cross_entropy", keeper)
        except Interrupted:
            return None

    def _step(self, step: int, steps: int, loss: float) -> None:
        self.taken.append(step)


@pytest.mark.parametrize(("name", "memory", "optimizer"), EVERY_WAY)
def test_cut_short_anywhere_it_ends_in_the_same_bits(tmp_path: Path, name: str, memory: str, optimizer: str) -> None:
    """Whatever the optimizer remembers, in the midst of an epoch and between two: delta and metrics are equal."""
    options = Options() if name == "native" else Options(clip_norm=True, proximal=True)
    files = bundles.linear(tmp_path / "bundle", optimizer=optimizer, options=options)
    (tmp_path / "kept").mkdir()
    life = Life((name, memory), files, open_dataset(data(tmp_path)), tmp_path / "kept")
    whole = life.run()
    assert whole and whole.delta is not None and life.taken == list(range(1, STEPS + 1))
    reached = 0
    for count in (4, 1, 6, 10, 4):  # to the 25th, the end of an epoch among them
        assert life.run(until=count) is None
        assert life.taken == list(range(reached + 1, reached + count + 1))
        reached += count
    last = life.run()
    assert last and last.delta is not None and life.taken == list(range(reached + 1, STEPS + 1))
    assert last.delta.tobytes() == whole.delta.tobytes()
    assert replace(last.metrics, seconds=0.0) == replace(whole.metrics, seconds=0.0)


@pytest.fixture
def job(tmp_path: Path) -> Train:
    """A job whose files lie apart: bundle, data, output."""
    files = bundles.linear(tmp_path / "cache", optimizer="adam")
    (tmp_path / "work").mkdir()
    return Train(
        task="task-1",
        manifest_path=str(files.manifest_path),
        files=files.blobs,
        base_path=str(files.base_path),
        delta_path=str(tmp_path / "work" / "delta"),
        dataset=data(tmp_path),
        plan=PLAN,
        checkpoints=Checkpoints(str(tmp_path / "work" / "task-1.checkpoints"), every_steps=2),
    )


def arguments(folder: Path) -> tuple[str, ...]:
    """Confine a worker of that job as far as this kernel can."""
    readable = ("--readable", str(folder / "cache"), "--readable", str(folder / "data.npz"))
    return ("--confinement", "preferred", *readable, "--output", str(folder / "work"))


def bits(job: Train) -> bytes:
    """Read a job's delta."""
    return Path(job.delta_path).read_bytes()


def test_a_worker_killed_anywhere_leaves_the_same_delta(tmp_path: Path, job: Train) -> None:
    """kill -9 in a step, in the middle of writing a checkpoint and right after one: the next child goes on from there.

    Confined, since that is where it must be able to write, rename and sync.
    """
    with Worker(confinement=arguments(tmp_path)) as worker:
        assert isinstance(worker.do(replace(job, checkpoints=None)), Trained)
        whole = bits(job)
    for where in ("train.step:8", "train.checkpoint.half:3", "train.checkpoint:4"):
        with Worker(env={VARIABLE: where}, confinement=arguments(tmp_path)) as worker:
            with pytest.raises(EOFError):
                worker.do(job)
            assert worker.process.wait(DEADLINE_S) == -signal.SIGKILL
    with Worker(env={VARIABLE: "train.step:17"}, confinement=arguments(tmp_path)) as worker:
        assert isinstance(worker.do(job), Trained) and bits(job) == whole, "from the 18th step on there are 12 more"
        with pytest.raises(EOFError):
            worker.do(replace(job, task="task-2"))  # though all else is equal, and the folder the same


def test_a_worker_asked_to_stop_does_so_at_its_next_step(tmp_path: Path, job: Train) -> None:
    """By SIGTERM, with a checkpoint; an idle worker is not ended by it: it stops the next job, once."""
    endless = replace(job, plan=replace(PLAN, epochs=10_000_000), checkpoints=Checkpoints(f"{job.delta_path}.kept", 0))
    with Worker(confinement=arguments(tmp_path)) as worker:
        worker.stop_at_step = 3  # the first two are the loaded dataset and the score
        assert worker.do(endless) == Stopped()
        assert [path.name for path in Path(f"{job.delta_path}.kept").iterdir()] == ["0"]
        worker.process.send_signal(signal.SIGTERM)
        assert worker.do(job) == Stopped(), "it may have been meant for a job that the worker had not read yet"
        assert isinstance(worker.do(job), Trained)
        assert worker.end() == (0, ""), "and nothing complained"
