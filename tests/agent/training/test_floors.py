"""The owner's privacy floor: how far a delta reaches, what noise it bears, from how many examples it comes."""

from collections.abc import Iterator
from dataclasses import replace
from math import isclose, sqrt
from pathlib import Path

import numpy as np
import pytest
from headwater_agent.core.policy import Floor
from headwater_agent.edges.enclosure import Enclosure
from headwater_agent.training import confinement, floors
from headwater_agent.training.datasets.split import split
from headwater_agent.training.desk import Desk
from headwater_agent.training.engine import Vector
from headwater_agent.training.engines import engine
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import (
    ColumnConfig,
    DatasetConfig,
    Inspect,
    Inspected,
    Protect,
    Protected,
    Reply,
    Train,
    Trained,
)
from headwater_wire import codecs, digests
from headwater_wire.messages import Plan
from hypothesis import example, given
from hypothesis import strategies as st

from tests.agent.training import bundles
from tests.agent.training.workers import Worker as Child

FEATURES, OUTPUTS, COUNT = 1000, 20, 60
ELEMENTS = FEATURES * OUTPUTS + OUTPUTS
PLAN = Plan(epochs=2, batch_size=8, learning_rate=0.5, seed=5, holdout=0.25, threads=1, clip_norm=1e9)
SIGMAS = 6.0  # wrong once in a thousand million times


class Worker:
    """The worker's desk."""

    def __init__(self) -> None:
        self.desk = Desk(lambda: engine("portable"))

    def do(self, job: Train) -> Reply:
        """Do a job."""
        return self.desk.do(job, lambda step: None)


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


def guarded(job: Train) -> Protect:
    """Say how the daemon has its delta protected."""
    return Protect(job.delta_path, job.delta_path + ".safe", ELEMENTS, job.plan.codec, job.floor)


def trained(worker: Worker | Child, job: Train, floor: Floor = Floor()) -> Vector:  # noqa: B008 (frozen)
    """Train under a floor, and protect what came of it as the daemon does; give the delta."""
    job = replace(job, floor=floor)
    reply: Reply = worker.do(job)
    assert isinstance(reply, Trained), reply
    path = job.delta_path
    if floor.clip_norm:
        reply, path = Desk(lambda: engine("portable")).do(guarded(job), lambda step: None), path + ".safe"
        assert isinstance(reply, Protected) and reply.delta == digests.of_file(Path(path))
    with codecs.open_delta(Path(path), "f32", ELEMENTS) as floats:
        return floats.load()


def test_a_delta_is_clipped_whatever_the_task_asks_for(worker: Worker, job: Train) -> None:
    """To the owner's norm, in its own direction; the same task gives the same bits, for there is no noise."""
    free = trained(worker, job)
    clipped = trained(worker, job, Floor(clip_norm=0.5))
    again = trained(worker, job, Floor(clip_norm=0.5))
    assert floors.l2_norm(free) > 1.0
    assert 0.499999 < floors.l2_norm(clipped) <= 0.5
    np.testing.assert_allclose(clipped, free * (0.5 / floors.l2_norm(free)), rtol=1e-5)
    assert clipped.tobytes() == again.tobytes()
    wide = trained(worker, job, Floor(clip_norm=1e6))
    assert wide.tobytes() == free.tobytes(), "what is within the norm stays as it is"


def test_the_noise_is_of_the_declared_size_and_never_the_same(worker: Worker, job: Train) -> None:
    """Standard deviation noise_multiplier · clip_norm in each number, about the clipped delta, of no task's seed."""
    clipped = trained(worker, job, Floor(clip_norm=0.5))
    noisy = [trained(worker, job, Floor(clip_norm=0.5, noise_multiplier=3.0)) for _ in range(2)]
    first, second = (vector.astype(np.float64) - clipped for vector in noisy)
    for noise, deviation in ((first, 1.5), (second, 1.5), (first - second, 1.5 * sqrt(2))):
        assert abs(noise.std() / deviation - 1) < SIGMAS / sqrt(2 * ELEMENTS)
        assert abs(noise.mean()) < SIGMAS * deviation / sqrt(ELEMENTS)
    assert abs(np.corrcoef(first, second)[0, 1]) < SIGMAS / sqrt(ELEMENTS)
    beyond = np.abs(first) > 2 * 1.5  # of a normal distribution 4.55 %
    assert isclose(beyond.mean(), 0.0455, abs_tol=SIGMAS * sqrt(0.0455 / ELEMENTS))


def test_a_child_that_sees_the_delta_alone_protects_it(job: Train, tmp_path: Path) -> None:
    """As the agent starts it, beside the child that trained: twice the same delta, two noises, in a folder apart."""
    for name in ("work", "guarded"):
        (tmp_path / name).mkdir()
    enclosure = Enclosure("preferred", (job.dataset,), (tmp_path / "bundle",), tmp_path / "work", 1_500_000_000)
    floor = Floor(min_examples=10, clip_norm=0.5, noise_multiplier=2.0)
    noisy = replace(job, delta_path=str(tmp_path / "work" / "delta"), floor=floor)
    with Child(confinement=enclosure.view(noisy).arguments) as child:
        assert isinstance(child.do(noisy), Trained)
    deltas = []
    for number in range(2):
        protect = replace(guarded(noisy), protected_path=str(tmp_path / "guarded" / f"{number}"))
        with Child(confinement=enclosure.view(protect).arguments) as child:
            assert isinstance(child.do(protect), Protected)
            if not confinement.lacking():
                refused = child.do(Inspect(job.dataset))
                assert isinstance(refused, Inspected) and "Permission denied" in refused.card.problem
        with codecs.open_delta(Path(protect.protected_path), "f32", ELEMENTS) as floats:
            deltas.append(floats.load())
    for delta in deltas:
        assert abs(delta.std(dtype=np.float64) - 1) < 2 * SIGMAS / sqrt(2 * ELEMENTS)
    assert (deltas[0] != deltas[1]).mean() > 0.99


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_not_protected(job: Train, number: float) -> None:
    """A NaN has 22 bits of its author's choice, which neither clipping nor noise changes."""
    delta = np.zeros(ELEMENTS, np.float32)
    delta[7] = number
    codecs.write_delta(Path(job.delta_path), delta)
    protect = guarded(replace(job, floor=Floor(clip_norm=1.0, noise_multiplier=1.0)))
    with pytest.raises(NotPossible, match="not finite"):
        Desk(lambda: engine("portable")).do(protect, lambda step: None)
    assert not Path(protect.protected_path).exists()


@pytest.mark.parametrize("content", [None, b"", b"no delta at all", bytes(4 * ELEMENTS)])
def test_what_is_no_delta_is_not_protected(job: Train, content: bytes | None) -> None:
    """With a reason."""
    if content is not None:
        Path(job.delta_path).write_bytes(content)
    with pytest.raises(NotPossible, match="can't be protected"):
        Desk(lambda: engine("portable")).do(guarded(replace(job, floor=Floor(clip_norm=1.0))), lambda step: None)


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
