"""Steps of what was imported, by the engine that takes them on a device: the corners of losses and of batches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from headwater_agent.training.engine import Bundle, Session
from headwater_agent.training.engines.portable import PortableEngine
from headwater_control.compiler.importer import make_bundle
from headwater_wire.ids import Digest
from headwater_wire.manifest import Manifest, parse
from headwater_wire.messages import Plan
from headwater_wire.tensors import open_vector

from tests.control_plane.compiler.graphs import INT64, N, info, model, save, weights

Arrays = Mapping[str, npt.NDArray[Any]]
RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((6, 8)).astype(np.float32)


def opened(
    folder: Path, proto: onnx.ModelProto, loss: str, selectors: Sequence[str] = (), piece: int | None = None
) -> tuple[Session, Manifest]:
    """Import a model, and load its first parameters."""
    made = make_bundle(save(folder / "net.onnx", proto), folder / f"out{piece}", "net", loss, selectors)
    described = parse(made.manifest_path.read_bytes())
    bundle = Bundle(described, {Digest(path.name): path for path in made.blob_paths})
    session = PortableEngine(piece).open(bundle, threads=1)
    with open_vector(made.parameters_path, described) as floats:
        session.load(floats.load(), Plan())
    return session, described


def parameters(session: Session, described: Manifest) -> dict[str, npt.NDArray[np.float32]]:
    """Take the vector apart."""
    vector = session.vector()
    return {p.name: vector[p.offset : p.offset + p.elements].reshape(p.shape) for p in described.parameters}


@pytest.mark.parametrize("piece", [None, 2])
def test_a_batch_that_is_wholly_ignored_moves_nothing(tmp_path: Path, piece: int | None) -> None:
    """Whatever the rate: its loss is 0, and no number becomes NaN."""
    proto = model([N("MatMul", ["x", "w"], ["y"])], {"w": weights(8, 3)})
    session, _ = opened(tmp_path, proto, "cross_entropy:ignore=-100", piece=piece)
    before = session.vector()
    assert session.train_step({"x": X, "label": np.full(6, -100)}, 1e6) == 0
    np.testing.assert_array_equal(session.vector(), before)


@pytest.mark.parametrize("piece", [None, 4])
@pytest.mark.parametrize(
    "loss", ["cross_entropy:ignore=1", "cross_entropy:weights=1/2/0.5", "cross_entropy:smoothing=0.2,ignore=-1"]
)
def test_pieces_of_weighted_examples_make_the_whole(tmp_path: Path, loss: str, piece: int | None) -> None:
    """Though each piece weighs otherwise: against the mean by hand, by a small step."""
    proto = model([N("MatMul", ["x", "w"], ["y"])], {"w": weights(8, 3)})
    labels = np.array([0, 1, 1, 2, 0, 1])
    session, described = opened(tmp_path, proto, loss, piece=piece)
    whole, _ = opened(tmp_path, proto, loss)
    told = session.train_step({"x": X, "label": labels}, 0.1)
    assert told == pytest.approx(whole.train_step({"x": X, "label": labels}, 0.1), rel=1e-6)
    np.testing.assert_allclose(
        parameters(session, described)["w"], parameters(whole, described)["w"], rtol=1e-5, atol=1e-6
    )


def test_a_model_may_compute_its_loss_itself(tmp_path: Path) -> None:
    """One number for the batch, from a target that is an input; other outputs stand beside it."""
    nodes = [
        N("MatMul", ["x", "w"], ["y"]),
        N("Sub", ["y", "target"], ["error"]),
        N("Mul", ["error", "error"], ["square"]),
        N("ReduceMean", ["square"], ["cost"], keepdims=0),
    ]
    inputs = [info("x", ["batch", 8]), info("target", ["batch", 3])]
    outputs = [info("y", ["batch", 3]), info("cost", [])]
    proto = model(nodes, {"w": weights(8, 3)}, inputs, outputs)
    made = make_bundle(save(tmp_path / "net.onnx", proto), tmp_path / "out", "net", "output", (), "cost")
    described = parse(made.manifest_path.read_bytes())
    assert [spec.name for spec in described.outputs] == ["y"]
    bundle = Bundle(described, {Digest(path.name): path for path in made.blob_paths})
    target = RANDOM.standard_normal((6, 3)).astype(np.float32)
    error = X @ weights(8, 3) - target
    for piece in (None, 2):
        session = PortableEngine(piece).open(bundle, threads=1)
        session.load(weights(8, 3).reshape(-1), Plan())
        assert session.train_step({"x": X, "target": target}, 0.1) == pytest.approx((error**2).mean(), rel=1e-5)
        expected = weights(8, 3) - 0.1 * 2 * X.T @ error / error.size
        np.testing.assert_allclose(session.vector().reshape(8, 3), expected, rtol=1e-4, atol=1e-5)


def test_where_examples_change_each_other_a_batch_is_one_piece(tmp_path: Path) -> None:
    """It is measured at import; small memory takes the same step then too."""
    nodes = [
        N("MatMul", ["x", "w"], ["h"]),
        N("ReduceMean", ["h"], ["middle"], axes=[0], keepdims=1),
        N("Sub", ["h", "middle"], ["y"]),
    ]
    proto = model(nodes, {"w": weights(8, 3)})
    batch = {"x": X, "label": RANDOM.standard_normal((6, 3)).astype(np.float32)}
    ends = []
    for piece in (None, 2):
        session, described = opened(tmp_path, proto, "mse", piece=piece)
        assert described.coupled
        session.train_step(batch, 0.1)
        ends.append((session.vector(), session.evaluate(batch).loss))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-5, atol=1e-6)
    assert ends[0][1] == pytest.approx(ends[1][1], rel=1e-6)
    _, plain = opened(tmp_path, model([N("MatMul", ["x", "w"], ["y"])], {"w": weights(8, 3)}), "mse")
    assert not plain.coupled


def norm(**more: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Give a BatchNormalization's parameters."""
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    return {"w": weights(8, 3), "scale": ones, "bias": zeros, "mean": zeros, "variance": ones, **more}


NORM = N("BatchNormalization", ["h", "scale", "bias", "mean", "variance"], ["y"], name="norm")


def test_one_number_teaches_no_statistics(tmp_path: Path) -> None:
    """An epoch's last batch may hold a single example: its variance, 0, is none."""
    proto = model([N("MatMul", ["x", "w"], ["h"]), NORM], norm())
    session, described = opened(tmp_path, proto, "mse", ["batch_norm"])
    session.train_step({"x": X[:1], "label": np.zeros((1, 3), np.float32)}, 0.1)
    after = parameters(session, described)
    np.testing.assert_array_equal(after["variance"], np.ones(3))
    np.testing.assert_array_equal(after["mean"], np.zeros(3))


def test_a_statistic_that_is_read_elsewhere_is_one_parameter(tmp_path: Path) -> None:
    """It follows the batch, and whoever else reads it reads that."""
    nodes = [N("MatMul", ["x", "w"], ["g"]), N("Sub", ["g", "mean"], ["h"]), NORM]
    session, described = opened(tmp_path, model(nodes, norm(mean=weights(3))), "mse", ["batch_norm"])
    assert [p.name for p in described.parameters if p.statistic] == ["mean", "variance"]
    assert len({p.name for p in described.parameters}) == len(described.parameters)
    assert np.isfinite(session.train_step({"x": X, "label": np.zeros((6, 3), np.float32)}, 0.1))


def test_a_norm_without_scale_and_bias_follows_what_trains_before_it(tmp_path: Path) -> None:
    """PyTorch's affine=False: the exporter writes fixed ones and zeros."""
    fixed = {"/n/Constant_output_0": np.ones(3, np.float32), "/n/Constant_1_output_0": np.zeros(3, np.float32)}
    inputs = ["h", *fixed, "mean", "variance"]
    nodes = [N("MatMul", ["x", "w"], ["h"]), N("BatchNormalization", inputs, ["y"], name="norm")]
    kept = {"w": weights(8, 3), "mean": np.zeros(3, np.float32), "variance": np.ones(3, np.float32)}
    _, described = opened(tmp_path, model(nodes, {**kept, **fixed}), "mse", ["batch_norm"])
    assert [p.name for p in described.parameters if p.statistic] == ["mean", "variance"]


@pytest.mark.parametrize("exponents", [np.array(0, np.float32), np.array([0, 2, 1], np.float32)])
def test_a_power_of_zero_is_flat_at_zero_too(tmp_path: Path, exponents: npt.NDArray[np.float32]) -> None:
    """Where its formula would have 0 times infinity."""
    nodes = [N("MatMul", ["x", "w"], ["h"]), N("Pow", ["h", "e"], ["p"]), N("Add", ["p", "h"], ["y"])]
    session, _ = opened(tmp_path, model(nodes, {"w": weights(8, 3), "e": exponents}), "mse", ["w"])
    session.train_step({"x": np.zeros((6, 8), np.float32), "label": np.ones((6, 3), np.float32)}, 0.1)
    assert np.isfinite(session.vector()).all()


def test_a_size_that_changes_only_with_large_batches_is_no_constant(tmp_path: Path) -> None:
    """A quarter of the batch's size is 0 for two examples and for three."""
    constants = {"w": weights(8, 3), "four": np.array([4]), "zero": np.array([0]), "one": np.array([1], np.float32)}
    nodes = [
        N("MatMul", ["x", "w"], ["h"]),
        N("Shape", ["x"], ["shape"]),
        N("Gather", ["shape", "zero"], ["size"]),
        N("Div", ["size", "four"], ["quarter"]),
        N("Cast", ["quarter"], ["factor"], to=1),
        N("Add", ["factor", "one"], ["more"]),
        N("Mul", ["h", "more"], ["y"]),
    ]
    session, _ = opened(tmp_path, model(nodes, constants), "mse", ["w"])
    told = session.train_step({"x": X, "label": np.zeros((6, 3), np.float32)}, 0.0)
    assert told == pytest.approx(((2 * X @ weights(8, 3)) ** 2).mean(), rel=1e-5)


def test_tokens_are_inputs_too(tmp_path: Path) -> None:
    """Whole numbers, in pieces."""
    proto = model(
        [N("Gather", ["table", "x"], ["e"]), N("ReduceMean", ["e"], ["y"], axes=[1], keepdims=0)],
        {"table": weights(10, 3)},
        [info("x", ["batch", 4], INT64)],
    )
    batch = {"x": RANDOM.integers(0, 10, (6, 4)), "label": RANDOM.integers(0, 3, 6)}
    ends = []
    for piece in (None, 4):
        session, _ = opened(tmp_path, proto, "cross_entropy", piece=piece)
        session.train_step(batch, 0.1)
        ends.append(session.vector())
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5, atol=1e-6)
