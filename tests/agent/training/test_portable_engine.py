"""What is particular to the portable engine: its optimizers, held against numpy, and constants that lie apart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from headwater_agent.training.engine import Session
from headwater_agent.training.engines import engine, stock
from headwater_agent.training.engines.portable import PortableEngine
from headwater_agent.training.errors import NotPossible
from headwater_control.compiler.autodiff.optimizers import Options
from headwater_wire.messages import Plan
from onnx import TensorProto, helper

from tests.agent.training import bundles
from tests.agent.training.test_engines import batch_for

STEPS = 5
PLAN = Plan(learning_rate=0.1, momentum=0.8, beta1=0.8, beta2=0.95, epsilon=1e-4)
Doubles = npt.NDArray[np.float64]
Update = Callable[[Doubles, Doubles, dict[str, Doubles], int], Doubles]


def opened(
    folder: Path, optimizer: str, options: Options | None = None, plan: Plan = PLAN, piece: int | None = None
) -> tuple[Session, Doubles]:
    """Open y = x·w + b for a regression; give its first parameters too."""
    files = bundles.linear(folder, loss="mse", optimizer=optimizer, options=options)
    session = PortableEngine(piece).open(files.bundle, threads=1)
    session.load(files.base, plan)
    return session, files.base.astype(np.float64)


def slope(vector: Doubles) -> Doubles:
    """Give the gradient of the mean squared error by hand: b, then w."""
    batch = batch_for("mse")
    x = batch["x"].astype(np.float64)
    error = x @ vector[3:].reshape(4, 3) + vector[:3] - batch["label"]
    return np.concatenate([2 * error.sum(axis=0), 2 * (x.T @ error).reshape(-1)]) / error.size


def momentum(p: Doubles, g: Doubles, state: dict[str, Doubles], t: int) -> Doubles:
    """PyTorch's SGD with momentum."""
    state["v"] = PLAN.momentum * state.get("v", 0 * p) + g
    return p - 0.1 * state["v"]


def nesterov(p: Doubles, g: Doubles, state: dict[str, Doubles], t: int) -> Doubles:
    """PyTorch's SGD with Nesterov's momentum."""
    state["v"] = PLAN.momentum * state.get("v", 0 * p) + g
    return p - 0.1 * (g + PLAN.momentum * state["v"])


def adam(p: Doubles, g: Doubles, state: dict[str, Doubles], t: int) -> Doubles:
    """Algorithm 1 of Kingma and Ba (2015)."""
    state["m"] = PLAN.beta1 * state.get("m", 0 * p) + (1 - PLAN.beta1) * g
    state["s"] = PLAN.beta2 * state.get("s", 0 * p) + (1 - PLAN.beta2) * g**2
    mean, square = state["m"] / (1 - PLAN.beta1**t), state["s"] / (1 - PLAN.beta2**t)
    return p - 0.1 * mean / (np.sqrt(square) + PLAN.epsilon)


UPDATES: dict[str, Update] = {
    "sgd": lambda p, g, state, t: p - 0.1 * g,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adam,
}


@pytest.mark.parametrize("piece", [None, 4])
@pytest.mark.parametrize("name", sorted(UPDATES))
def test_an_optimizer_does_what_its_paper_says(tmp_path: Path, name: str, piece: int | None) -> None:
    """Step after step, its state included; loaded anew, it begins anew."""
    session, expected = opened(tmp_path, name, piece=piece)
    first = session.vector()
    for _ in range(2):
        session.load(first, PLAN)
        expected = first.astype(np.float64)
        state: dict[str, Doubles] = {}
        for step in range(1, STEPS + 1):
            session.train_step(batch_for("mse"), 0.1)
            expected = UPDATES[name](expected, slope(expected), state, step)
        np.testing.assert_allclose(session.vector(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("piece", [None, 4])
@pytest.mark.parametrize("name", sorted(UPDATES))
def test_weight_decay_clipping_and_the_proximal_pull(tmp_path: Path, name: str, piece: int | None) -> None:
    """The gradient is clipped, then pulled and decayed; adamw shrinks the parameters instead."""
    decay, clip, pull = 0.05, 0.3, 0.2
    plan = replace(PLAN, weight_decay=decay, clip_norm=clip, proximal=pull)
    session, base = opened(tmp_path, name, Options(weight_decay=True, clip_norm=True, proximal=True), plan, piece)
    expected = base
    state: dict[str, Doubles] = {}
    for step in range(1, STEPS + 1):
        session.train_step(batch_for("mse"), 0.1)
        gradient = slope(expected)
        gradient = gradient * min(1.0, clip / float(np.linalg.norm(gradient))) + pull * (expected - base)
        if name == "adamw":
            shrunk = expected * (1 - 0.1 * decay)
            expected = UPDATES[name](shrunk, gradient, state, step)
        else:
            expected = UPDATES[name](expected, gradient + decay * expected, state, step)
    np.testing.assert_allclose(session.vector(), expected, rtol=5e-5, atol=5e-6)


def test_batches_of_any_size_follow_each_other(tmp_path: Path) -> None:
    """The last batch of an epoch is smaller, and a batch may be one example."""
    session, _ = opened(tmp_path, "sgd")
    for examples in (6, 1, 4, 6):
        assert np.isfinite(session.train_step(batch_for("mse", examples), 0.1))
    assert session.evaluate(batch_for("mse", 1)).loss >= 0


def test_a_bundle_without_its_graphs_is_not_possible(tmp_path: Path) -> None:
    """A box whose engine was changed has fetched other blobs of the bundle."""
    files = bundles.linear(tmp_path)
    bundle = replace(files.bundle, files={})
    with pytest.raises(NotPossible, match="was not brought here"):
        engine("portable").open(bundle, threads=1)


def unknown_operator() -> bytes:
    """Write a graph of an operator that ONNX never had."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Rubbish", ["x"], ["y"])], "test", [value], [])
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return data


def test_a_graph_that_the_runtime_refuses_is_not_possible(tmp_path: Path) -> None:
    """Its words are passed on, with the version of the runtime."""
    files = bundles.linear(tmp_path)
    files.bundle.path(files.bundle.manifest.step.train).write_bytes(unknown_operator())
    with pytest.raises(NotPossible, match=r"ONNX Runtime \d.* can't load the model's training graph"):
        engine("portable").open(files.bundle, threads=1)


def test_in_small_memory_scores_are_those_of_the_whole(tmp_path: Path) -> None:
    """The loss before a step and what is counted do not depend on the size of a piece."""
    batch = batch_for("mse", 11)
    whole, _ = opened(tmp_path / "whole", "sgd")
    small, _ = opened(tmp_path / "small", "sgd", piece=3)
    assert small.train_step(batch, 0.1) == pytest.approx(whole.train_step(batch, 0.1), rel=1e-6)
    expected, found = whole.evaluate(batch), small.evaluate(batch)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    assert found.absolute_error == pytest.approx(expected.absolute_error, rel=1e-5)


def test_a_box_with_cuda_uses_it() -> None:
    """The runtime's build says what there is; what one provider can't run goes to the next."""
    assert stock.providers(["AzureExecutionProvider", "CPUExecutionProvider"]) == ["CPUExecutionProvider"]
    on_gpu = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert stock.providers(on_gpu) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
