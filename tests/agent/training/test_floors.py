"""The owner's privacy floor: how far a delta reaches, what noise it bears, from how many examples it comes."""

from collections.abc import Iterator
from dataclasses import replace
from math import isclose, sqrt
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.core.policy import Floor
from headwater_agent.edges.enclosure import Enclosure
from headwater_agent.training import floors
from headwater_agent.training.datasets.split import split
from headwater_agent.training.desk import Desk
from headwater_agent.training.engine import Vector
from headwater_agent.training.engines import engine
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig, Reply, Stepped, Train, Trained
from headwater_wire import codecs
from headwater_wire.messages import Metrics, Plan
from hypothesis import example, given
from hypothesis import strategies as st

from tests.agent.training import bundles
from tests.agent.training.workers import Worker as Child

FEATURES, OUTPUTS, COUNT = 1000, 20, 60
ELEMENTS = FEATURES * OUTPUTS + OUTPUTS
PLAN = Plan(epochs=2, batch_size=8, learning_rate=0.5, seed=5, holdout=0.25, threads=1, clip_norm=1e9)
SIGMAS = 6.0  # wrong once in a thousand million times


class Worker:
    """The worker's desk; the steps told of the last job are in `steps`."""

    def __init__(self) -> None:
        self.desk = Desk(lambda: engine("portable"))
        self.steps: list[Stepped] = []

    def do(self, job: Train) -> Reply:
        """Do a job."""
        self.steps.clear()
        return self.desk.do(job, self.steps.append)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One for all tests."""
    made = Worker()
    yield made
    made.desk.close()


@pytest.fixture
def job(tmp_path: Path) -> Train:
    """A job that trains twenty thousand parameters on sixty examples."""
    files = bundles.linear(tmp_path / "bundle", features=FEATURES, outputs=OUTPUTS)
    random = np.random.default_rng(0)
    label = random.integers(0, OUTPUTS, COUNT)
    x = random.standard_normal((COUNT, FEATURES)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, label=label)
    columns = (ColumnConfig("x", ("x",)), ColumnConfig("label", ("label",), dtype="int64"))
    dataset = DatasetConfig("parts", "npz", str(tmp_path / "data.npz"), columns)
    return Train(
        "task-1",
        str(files.manifest_path),
        files.blobs,
        str(files.base_path),
        str(tmp_path / "delta"),
        dataset,
        PLAN,
    )


def trained(worker: Worker | Child, job: Train, floor: Floor = Floor()) -> tuple[Vector, Metrics]:  # noqa: B008 (frozen)
    """Train under a floor; give delta and metrics."""
    reply = worker.do(replace(job, floor=floor))
    assert isinstance(reply, Trained), reply
    with codecs.open_delta(Path(job.delta_path), "f32", ELEMENTS) as floats:
        return floats.load(), reply.metrics


def test_a_delta_is_clipped_whatever_the_task_asks_for(worker: Worker, job: Train) -> None:
    """To the owner's norm, in its own direction; the same task gives the same bits, for there is no noise."""
    free, _ = trained(worker, job)
    clipped, _ = trained(worker, job, Floor(clip_norm=0.5))
    again, _ = trained(worker, job, Floor(clip_norm=0.5))
    assert floors.l2_norm(free) > 1.0
    assert 0.499999 < floors.l2_norm(clipped) <= 0.5
    np.testing.assert_allclose(clipped, free * (0.5 / floors.l2_norm(free)), rtol=1e-5)
    assert clipped.tobytes() == again.tobytes()
    wide, _ = trained(worker, job, Floor(clip_norm=1e6))
    assert wide.tobytes() == free.tobytes(), "what is within the norm stays as it is"


def test_the_noise_is_of_the_declared_size_and_never_the_same(worker: Worker, job: Train) -> None:
    """Standard deviation noise_multiplier · clip_norm in each number, about the clipped delta, of no task's seed."""
    clipped, _ = trained(worker, job, Floor(clip_norm=0.5))
    noisy = [trained(worker, job, Floor(clip_norm=0.5, noise_multiplier=3.0))[0] for _ in range(2)]
    first, second = (vector.astype(np.float64) - clipped for vector in noisy)
    for noise, deviation in ((first, 1.5), (second, 1.5), (first - second, 1.5 * sqrt(2))):
        assert abs(noise.std() / deviation - 1) < SIGMAS / sqrt(2 * ELEMENTS)
        assert abs(noise.mean()) < SIGMAS * deviation / sqrt(ELEMENTS)
    assert abs(np.corrcoef(first, second)[0, 1]) < SIGMAS / sqrt(ELEMENTS)
    beyond = np.abs(first) > 2 * 1.5  # of a normal distribution 4.55 %
    assert isclose(beyond.mean(), 0.0455, abs_tol=SIGMAS * sqrt(0.0455 / ELEMENTS))


def test_the_confined_child_keeps_the_floor(job: Train, tmp_path: Path) -> None:
    """As the agent starts it, within the owner's memory: twice the same task, two noises."""
    output = tmp_path / "work"
    output.mkdir()
    enclosure = Enclosure("preferred", (job.dataset,), (tmp_path / "bundle",), output, 1_500_000_000)
    noisy = replace(
        job, delta_path=str(output / "delta"), floor=Floor(min_examples=10, clip_norm=0.5, noise_multiplier=2.0)
    )
    with Child(confinement=enclosure.view().arguments) as child:
        deltas = [trained(child, noisy, noisy.floor)[0] for _ in range(2)]
    for delta in deltas:
        assert abs(delta.std(dtype=np.float64) - 1) < 2 * SIGMAS / sqrt(2 * ELEMENTS)
    assert (deltas[0] != deltas[1]).mean() > 0.99


def test_under_a_floor_progress_tells_no_loss(worker: Worker, job: Train) -> None:
    """A step's loss may be that of one example; without a floor it is told."""
    one = replace(job, plan=replace(PLAN, batch_size=1, epochs=30))
    trained(worker, one)
    assert any(step.loss for step in worker.steps)
    trained(worker, one, Floor(min_examples=2))
    assert len(worker.steps) > 1 and not any(step.loss for step in worker.steps)


def test_an_owner_may_keep_the_metrics(worker: Worker, job: Train) -> None:
    """All but what a merge weighs the delta by, and how long it took."""
    delta, open_metrics = trained(worker, job)
    quiet_delta, quiet = trained(worker, job, Floor(report_metrics=False))
    assert quiet == Metrics(examples=open_metrics.examples, seconds=quiet.seconds) and quiet.seconds > 0
    assert open_metrics.holdout_loss > 0 and delta.tobytes() == quiet_delta.tobytes()
    scored = worker.do(replace(job, plan=replace(PLAN, train=False), floor=Floor(report_metrics=False)))
    assert isinstance(scored, Trained) and scored.metrics == Metrics(seconds=scored.metrics.seconds)


def test_too_few_examples_are_refused_in_the_worker(worker: Worker, job: Train) -> None:
    """Before anything is trained or scored, with the setting's name."""
    rows, held_out = (len(part) for part in split(COUNT, PLAN.holdout))
    assert rows > held_out
    trained(worker, job, Floor(min_examples=held_out))
    trained(worker, job, Floor(min_examples=rows, report_metrics=False))
    for floor, words in (
        (Floor(min_examples=COUNT + 1), f"there are {COUNT}"),
        (Floor(min_examples=rows + 1), f"the task would train on {rows}"),
        (Floor(min_examples=held_out + 1), f"the task would score {held_out}"),
    ):
        Path(job.delta_path).unlink(missing_ok=True)
        with pytest.raises(NotPossible, match=rf"policy\.min_examples is {floor.min_examples}, .* {words}"):
            worker.do(replace(job, floor=floor))
        assert not Path(job.delta_path).exists()


@given(st.integers(1, 300), st.floats(0, 1, exclude_max=True), st.booleans(), st.integers(0, 300), st.booleans())
def test_no_delta_or_figure_comes_from_fewer(count: int, share: float, train: bool, least: int, report: bool) -> None:
    """What passes trains on enough, and reports figures of enough or of none."""
    plan, floor = Plan(train=train, holdout=share), Floor(min_examples=least, report_metrics=report)
    rows, held_out = (len(part) for part in split(count, share))
    enough = count >= least and (not train or rows >= least) and (not report or not held_out or held_out >= least)
    try:
        floors.check_examples("parts", count, plan, floor)
    except NotPossible:
        assert not enough
    else:
        assert enough


@example([3.273504217168066e36], 1e-6)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    st.floats(1e-6, 1e6),
)
def test_no_vector_is_longer_than_its_norm_allows(numbers: list[float], norm: float) -> None:
    """Not by a rounding error, however large or uneven the numbers are."""
    delta = np.array(numbers, np.float32)
    floors.protect(delta, Floor(clip_norm=norm), seed=0)
    assert floors.l2_norm(delta) <= norm and np.isfinite(delta).all()


def test_a_vector_of_many_blocks_is_protected_to_its_end() -> None:
    """Each number gets noise of its own."""
    delta = np.zeros(3 * 2**18 + 5, np.float32)
    floors.protect(delta, Floor(clip_norm=1.0, noise_multiplier=1.0), seed=1)
    assert len(np.unique(delta)) > 0.9 * len(delta)
    assert abs(delta.std(dtype=np.float64) - 1) < SIGMAS / sqrt(2 * len(delta))
