"""The engines, held against numpy: whatever one can train, the other trains to the same numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from headwater_agent.training.engine import Batch, Score, Session
from headwater_agent.training.engines import engine
from headwater_wire.messages import Plan
from onnx import helper

from tests.agent.training import bundles
from tests.support.training_build import needs_training_build

EXAMPLES, FEATURES, OUTPUTS, RATE = 6, 4, 3, 0.3
PLAN = Plan()
Doubles = npt.NDArray[np.float64]


@pytest.fixture(params=["portable", pytest.param("native", marks=needs_training_build)])
def name(request: pytest.FixtureRequest) -> str:
    """Name an engine."""
    return str(request.param)


def batch_for(loss: str, examples: int = EXAMPLES) -> Batch:
    """Make a batch for y = x·w + b."""
    random = np.random.default_rng(3)
    x = random.standard_normal((examples, FEATURES)).astype(np.float32)
    if loss == "cross_entropy":
        return {"x": x, "label": random.integers(0, OUTPUTS, examples)}
    if loss == "bce_with_logits":
        return {"x": x, "label": random.integers(0, 2, (examples, OUTPUTS)).astype(np.float32)}
    return {"x": x, "label": random.standard_normal((examples, OUTPUTS)).astype(np.float32)}


def by_hand(loss: str, y: Doubles, label: npt.NDArray[Any]) -> tuple[float, Doubles, float]:
    """Give a batch's mean loss, its derivative by y, and the number of right answers."""
    if loss == "cross_entropy":
        probabilities = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
        wanted = np.eye(OUTPUTS)[label.astype(int)]
        mean = -np.log((probabilities * wanted).sum(axis=1)).mean()
        return mean, (probabilities - wanted) / len(y), float((y.argmax(axis=1) == label).sum())
    if loss == "bce_with_logits":
        chance = 1 / (1 + np.exp(-y))
        mean = -(label * np.log(chance) + (1 - label) * np.log(1 - chance)).mean()
        return mean, (chance - label) / y.size, float(((y > 0) == (label > 0.5)).mean(axis=1).sum())
    if loss == "mse":
        return ((y - label) ** 2).mean(), 2 * (y - label) / y.size, 0.0
    return np.abs(y - label).mean(), np.sign(y - label) / y.size, 0.0


def open_linear(name: str, folder: Path, loss: str) -> tuple[Session, bundles.Files]:
    """Open y = x·w + b, and load its first version."""
    files = bundles.linear(folder, loss=loss, features=FEATURES, outputs=OUTPUTS)
    session = engine(name).open(files.bundle, threads=1)
    session.load(files.base, PLAN)
    return session, files


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce_with_logits", "l1"])
def test_a_step_is_plain_sgd(name: str, tmp_path: Path, loss: str) -> None:
    """A step returns the loss before it, and moves each parameter by −rate times the mean loss's gradient."""
    session, files = open_linear(name, tmp_path, loss)
    batch = batch_for(loss)
    x = batch["x"].astype(np.float64)
    bias, weight = files.base[:OUTPUTS].astype(np.float64), files.base[OUTPUTS:].astype(np.float64)
    mean, slope, _ = by_hand(loss, x @ weight.reshape(FEATURES, OUTPUTS) + bias, batch["label"])
    told = session.train_step(batch, RATE)
    assert told == pytest.approx(mean, rel=1e-5)
    wanted = np.concatenate([bias - RATE * slope.sum(axis=0), (weight - RATE * (x.T @ slope).reshape(-1))])
    np.testing.assert_allclose(session.vector(), wanted, rtol=1e-5, atol=1e-6)
    session.close()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce_with_logits", "l1"])
def test_scoring_agrees_with_numpy(name: str, tmp_path: Path, loss: str) -> None:
    """`evaluate` sums the examples' losses, counts right answers, and changes nothing."""
    session, files = open_linear(name, tmp_path, loss)
    batch = batch_for(loss, examples=17)
    weight = files.base[OUTPUTS:].reshape(FEATURES, OUTPUTS).astype(np.float64)
    mean, _, right = by_hand(loss, batch["x"] @ weight + files.base[:OUTPUTS], batch["label"])
    score = session.evaluate(batch)
    assert score.loss == pytest.approx(mean * 17, rel=1e-5)
    assert score.correct == pytest.approx(right)
    error = np.abs(batch["x"] @ weight + files.base[:OUTPUTS] - batch["label"]).mean() * 17 if right == 0 else 0.0
    assert score.absolute_error == pytest.approx(error, rel=1e-5)
    assert np.array_equal(session.vector(), files.base)


def test_a_second_step_begins_with_fresh_gradients(name: str, tmp_path: Path) -> None:
    """Gradients of one step don't leak into the next: a rate of 0 before changes nothing after."""
    session, files = open_linear(name, tmp_path, "mse")
    batch = batch_for("mse")
    session.train_step(batch, RATE)
    once = session.vector()
    session.load(files.base, PLAN)
    session.train_step(batch, 0.0)
    session.train_step(batch, RATE)
    assert np.array_equal(session.vector(), once)


def test_parameters_go_in_and_out_by_the_manifests_order(name: str, tmp_path: Path) -> None:
    """What `load` took, `vector` gives back, and each number stands where the manifest says."""
    session, files = open_linear(name, tmp_path, "mse")
    vector = np.arange(files.base.size, dtype=np.float32)
    session.load(vector, PLAN)
    assert np.array_equal(session.vector(), vector)
    x = np.eye(FEATURES, dtype=np.float32)  # picks the rows of w
    label = vector[OUTPUTS:].reshape(FEATURES, OUTPUTS) + vector[:OUTPUTS]
    assert session.evaluate({"x": x, "label": label}).loss == 0.0


def test_only_trainable_parameters_move(name: str, tmp_path: Path) -> None:
    """A parameter that the manifest doesn't name stays a constant of the graph, whatever is trained."""
    random = np.random.default_rng(1)
    tensors = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in {"w1": (4, 5), "b1": (5,), "w2": (5, 3)}.items()
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        helper.make_node("Tanh", ["h"], ["t"], name="tanh"),
        helper.make_node("MatMul", ["t", "w2"], ["y"], name="second"),
    ]
    files = bundles.make(tmp_path, nodes, tensors, ["w2"], loss="mse", features=4, outputs=3)
    session = engine(name).open(files.bundle, threads=1)
    session.load(files.base, PLAN)
    batch = batch_for("mse")
    session.train_step(batch, RATE)
    moved = session.vector()
    assert moved.shape == (15,) and not np.array_equal(moved, files.base)
    hidden = np.tanh(batch["x"] @ tensors["w1"] + tensors["b1"])
    mean, _, _ = by_hand("mse", hidden @ moved.reshape(5, 3).astype(np.float64), batch["label"])
    assert session.evaluate(batch).loss == pytest.approx(mean * EXAMPLES, rel=1e-5)


@pytest.mark.parametrize(
    ("nodes", "trainable"),
    [
        ([helper.make_node("LayerNormalization", ["h", "scale"], ["y"], name="norm")], ["w", "scale"]),
        ([helper.make_node("LayerNormalization", ["h", "scale", "shift"], ["y"], name="norm")], ["w", "shift"]),
        ([helper.make_node("Dropout", ["h"], ["y"], name="drop")], ["w"]),
    ],
)
def test_optional_outputs_need_not_be_written(
    name: str, tmp_path: Path, nodes: list[helper.NodeProto], trainable: list[str]
) -> None:
    """A graph trains though it leaves out what ONNX makes optional and the gradient builder takes for given."""
    random = np.random.default_rng(1)
    tensors = {"w": random.standard_normal((4, 3)).astype(np.float32)}
    tensors |= {name: np.ones(3, np.float32) for name in ("scale", "shift") if name in nodes[0].input}
    first = helper.make_node("MatMul", ["x", "w"], ["h"], name="first")
    files = bundles.make(tmp_path, [first, *nodes], tensors, trainable, loss="mse", features=4, outputs=3)
    session = engine(name).open(files.bundle, threads=1)
    session.load(files.base, PLAN)
    losses = [session.train_step(batch_for("mse"), 0.1) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_the_loss_may_read_an_inner_tensor(name: str, tmp_path: Path) -> None:
    """With the loss on what a last Softmax reads, training goes on as if the Softmax weren't there."""
    tensors = {"w": np.random.default_rng(2).standard_normal((4, 3)).astype(np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"], name="first"),
        helper.make_node("Softmax", ["scores"], ["y"], name="softmax"),
    ]
    files = bundles.make(tmp_path, nodes, tensors, ["w"], loss="cross_entropy", features=4, outputs=3, output="scores")
    session = engine(name).open(files.bundle, threads=1)
    session.load(files.base, PLAN)
    batch = batch_for("cross_entropy")
    mean, _, _ = by_hand("cross_entropy", batch["x"] @ tensors["w"].astype(np.float64), batch["label"])
    assert session.train_step(batch, RATE) == pytest.approx(mean, rel=1e-5)


def test_the_constant_engine_adds_the_rate(tmp_path: Path) -> None:
    """Each step of the engine for benches adds the learning rate to every parameter, in float32."""
    files = bundles.linear(tmp_path)
    session = engine("constant").open(files.bundle, threads=1)
    session.load(files.base, PLAN)
    session.train_step(batch_for("cross_entropy"), 0.25)
    session.train_step(batch_for("cross_entropy"), 0.25)
    assert np.array_equal(session.vector(), files.base + np.float32(0.25) + np.float32(0.25))
    assert session.evaluate(batch_for("cross_entropy")) == Score(0.0)
    assert not np.shares_memory(session.vector(), files.base)


def test_an_unknown_engine_names_the_known_ones() -> None:
    """There are two engines, and a third name says so."""
    with pytest.raises(ValueError, match="native, constant"):
        engine("quantum")
