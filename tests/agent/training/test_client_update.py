"""A client's update on engines we can foresee: what is counted, what is scored, when it is given up."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from headwater_agent.core.shares import steps_of
from headwater_agent.training.client_update import update
from headwater_agent.training.datasets import Dataset, open_dataset
from headwater_agent.training.engine import Batch, Score, State, Vector
from headwater_agent.training.errors import NotPossible, WentWrong
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig
from headwater_wire import graphs
from headwater_wire.messages import Plan

from tests.agent.training import bundles


class Recorder:
    """A session that notes what it is given: adds the rate like the constant engine, with losses of our choice."""

    def __init__(self, losses: list[float] | None = None, score: float = 2.0, poison: float = 0.0) -> None:
        self.trained: list[list[int]] = []
        self.scored: list[int] = []
        self._losses = losses or [1.0]
        self._score = score
        self._poison = poison
        self._vector = np.zeros(0, np.float32)

    def load(self, vector: Vector, plan: Plan) -> None:
        self._vector = vector.copy()

    def train_step(self, batch: Batch, learning_rate: float) -> float:
        self.trained.append(batch["label"].tolist())
        self._vector += np.float32(learning_rate + self._poison)
        return self._losses[min(len(self.trained), len(self._losses)) - 1]

    def evaluate(self, batch: Batch) -> Score:
        assert not self.trained, "the base is scored, before anything is trained"
        self.scored += batch["label"].tolist()
        return Score(self._score * len(batch["label"]), 1.0, 0.5)

    def vector(self) -> Vector:
        return self._vector.copy()

    def state(self) -> State:
        return {"parameters": self._vector}

    def restore(self, state: State) -> None:
        self._vector[:] = state["parameters"]

    def close(self) -> None:
        """Nothing is held."""


BASE = np.array([1.0, 2.0, 3.0], np.float32)
LOSS = "cross_entropy"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Fifty examples, each its own number."""
    np.savez(tmp_path / "data.npz", label=np.arange(50))
    column = ColumnConfig("label", ("label",), dtype="int64")
    return open_dataset(DatasetConfig("parts", "npz", str(tmp_path / "data.npz"), (column,)))


def quiet(step: int, steps: int, loss: float) -> None:
    """Report to nobody."""


def test_each_epoch_sees_each_example_once_and_no_held_out_one(dataset: Dataset) -> None:
    """Training covers the rest exactly, in another order each epoch; scoring covers the held-out share."""
    session = Recorder()
    steps: list[tuple[int, int]] = []
    plan = Plan(epochs=2, batch_size=7, learning_rate=0.5, holdout=0.2)
    result = update(session, dataset, BASE, plan, lambda step, total, loss: steps.append((step, total)), LOSS)
    seen = [label for batch in session.trained for label in batch]
    half = len(seen) // 2
    assert sorted(seen[:half]) == sorted(seen[half:]) == sorted(set(range(50)) - set(session.scored))
    assert seen[:half] != seen[half:]
    scored_batches = 1
    assert [step for step, _ in steps] == list(range(1, scored_batches + len(session.trained) + 1))
    assert {total for _, total in steps} == {scored_batches + len(session.trained)}
    assert result.metrics.examples == half and result.metrics.holdout_examples == len(session.scored) == 50 - half
    assert result.metrics.holdout_loss == pytest.approx(2.0)
    assert result.delta is not None and result.delta.dtype == np.float32
    np.testing.assert_allclose(result.delta, np.full(3, 0.5 * len(session.trained)))


def test_the_train_loss_is_the_last_epochs_mean_per_example(dataset: Dataset) -> None:
    """A small last batch counts for what it holds."""
    losses = [9.0, 9.0, 9.0, 1.0, 1.0, 4.0]  # two epochs of batches of 20, 20 and 10
    plan = Plan(epochs=2, batch_size=20, holdout=0.0)
    result = update(Recorder(losses), dataset, BASE, plan, quiet, LOSS)
    assert result.metrics.train_loss == pytest.approx((20 * 1 + 20 * 1 + 10 * 4) / 50)
    assert result.metrics.holdout_examples == 0 and result.metrics.holdout_loss == 0.0


def test_a_plan_that_only_scores_makes_no_delta(dataset: Dataset) -> None:
    """Nothing is trained, nothing counts as trained on."""
    session = Recorder()
    result = update(session, dataset, BASE, Plan(train=False, holdout=0.5), quiet, LOSS)
    assert (result.delta, session.trained, result.metrics.examples) == (None, [], 0)
    assert result.metrics.holdout_examples == len(session.scored) > 0


@pytest.mark.parametrize(
    ("loss", "correct", "error"),
    [
        ("cross_entropy", 1.0, None),
        ("bce_with_logits", 1.0, None),
        ("mse", None, 0.5),
        ("l1", None, 0.5),
        ("huber", None, 0.5),
        ("output", None, None),
    ],
)
def test_only_the_figures_that_a_loss_has_are_told(
    tmp_path: Path, dataset: Dataset, loss: str, correct: float | None, error: float | None
) -> None:
    """Those that its evaluation graph gives; else None, which is not 0."""
    metrics = update(Recorder(), dataset, BASE, Plan(train=False, holdout=0.2), quiet, loss).metrics
    assert (metrics.holdout_correct, metrics.holdout_absolute_error) == (correct, error)
    bundle = bundles.linear(tmp_path / "bundle", loss=loss).bundle
    given = {value.name for value in onnx.load(bundle.path(bundle.manifest.step.evaluation)).graph.output}
    assert (graphs.CORRECT in given, graphs.ABSOLUTE_ERROR in given) == (correct is not None, error is not None)


@pytest.mark.parametrize("train", [True, False])
def test_scoring_is_progress_too(tmp_path: Path, train: bool) -> None:
    """Batch by batch, with the loss so far: a box that only scores would otherwise seem to stand still."""
    np.savez(tmp_path / "data.npz", label=np.arange(1000))
    column = ColumnConfig("label", ("label",), dtype="int64")
    dataset = open_dataset(DatasetConfig("parts", "npz", str(tmp_path / "data.npz"), (column,)))
    told: list[tuple[int, int, float]] = []
    plan = Plan(train=train, holdout=0.6, batch_size=100)
    session = Recorder(losses=[0.5])
    result = update(session, dataset, BASE, plan, lambda *step: told.append(step), LOSS)
    batches = math.ceil(result.metrics.holdout_examples / 256)
    assert batches > 1
    total = batches + len(session.trained)
    losses = [2.0] * batches + [0.5] * len(session.trained)
    assert told == [(number, total, loss) for number, loss in enumerate(losses, 1)]
    assert steps_of(dataset.count, plan) == total


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_it_at_once(dataset: Dataset, loss: float) -> None:
    """The step, the rate and what to do are told, and no further step is taken."""
    session = Recorder([1.0, 1.0, loss])
    plan = Plan(epochs=5, batch_size=10, learning_rate=0.4, holdout=0.0)
    with pytest.raises(WentWrong, match=rf"became {loss} at step 3 of 25, with learning rate 0.4: .*--lr 0.04"):
        update(session, dataset, BASE, plan, quiet, LOSS)
    assert len(session.trained) == 3


def test_parameters_that_overflowed_are_no_delta(dataset: Dataset) -> None:
    """A finite loss doesn't excuse infinite parameters."""
    with pytest.raises(WentWrong, match="no longer finite"):
        update(Recorder(poison=math.inf), dataset, BASE, Plan(holdout=0.0), quiet, LOSS)


def test_an_unusable_base_is_told(dataset: Dataset) -> None:
    """If the base version already scores NaN, training is not begun."""
    with pytest.raises(WentWrong, match="base version's loss on the held-out examples is nan"):
        update(Recorder(score=math.nan), dataset, BASE, Plan(), quiet, LOSS)


def test_a_share_that_leaves_nothing_to_train_on_is_told(dataset: Dataset) -> None:
    """Everything held out is not possible, whatever is tried."""
    with pytest.raises(NotPossible, match=r"50 examples, and a held-out share of 1\.0 leaves none to train on"):
        update(Recorder(), dataset, BASE, Plan(holdout=1.0), quiet, LOSS)
