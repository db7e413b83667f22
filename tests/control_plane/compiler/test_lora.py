"""Low-rank adapters: they alone train, and an exported model has them folded in."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from headwater_control.compiler.compose import compose
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.importer import Imported, import_model
from headwater_wire import manifest
from headwater_wire.tensors import open_vector, write_vector

from tests.control_plane.compiler.graphs import N, graph_path, info, model, save, weights

X = np.random.default_rng(0).standard_normal((3, 6, 4, 4)).astype(np.float32)


def net() -> onnx.ModelProto:
    """Make a 1×1 Conv, a Gemm and two MatMuls that fit, beside a 3×3 Conv, a small weight and a shared one."""
    nodes = [
        N("Conv", ["x", "k1"], ["a"], name="point", strides=[2, 2]),
        N("Conv", ["a", "k3"], ["b"], name="area", pads=[1, 1, 1, 1]),
        N("ReduceMean", ["b"], ["c"], name="pool", axes=[2, 3], keepdims=0),
        N("Gemm", ["c", "wg", "bg"], ["d"], name="gemm", transB=1),
        N("MatMul", ["d", "wm"], ["e"], name="product"),
        N("Transpose", ["wt"], ["wt.turned"], perm=[1, 0]),
        N("MatMul", ["e", "wt.turned"], ["f"], name="turned"),
        N("MatMul", ["f", "twice"], ["g"], name="shared"),
        N("MatMul", ["g", "twice"], ["h"], name="shared_again"),
        N("MatMul", ["h", "ws"], ["y"], name="small"),
    ]
    tensors = {"k1": weights(8, 6, 1, 1), "k3": weights(8, 8, 3, 3), "wg": weights(10, 8), "bg": weights(10)}
    tensors |= {"wm": weights(10, 4), "ws": weights(6, 3), "wt": weights(6, 4), "twice": weights(6, 6)}
    return model(nodes, tensors, [info("x", ["b", 6, 4, 4])])


def imported(folder: Path, rank: int = 2) -> Imported:
    """Import with adapters."""
    return import_model(save(folder / "net.onnx", net()), folder / "out", "net", "mse", [f"lora:{rank}"])


def answers(path: Path) -> np.ndarray:
    """Run a model."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": X})[0]
    return found


def test_only_adapters_train_and_the_delta_is_small(tmp_path: Path) -> None:
    """Every fitting weight has two, nothing else is in the flat vector, and at first the model is what it was."""
    made = imported(tmp_path)
    described = manifest.parse(made.manifest_path.read_bytes())
    assert [parameter.name for parameter in described.parameters] == [
        f"{name}.lora_{side}" for name in ("k1", "wg", "wm", "wt") for side in "ab"
    ]
    assert made.elements == 2 * ((6 + 8) + (8 + 10) + (10 + 4) + (4 + 6))
    assert {"k1", "k3", "wg", "bg", "wm", "wt", "ws", "twice"} <= set(described.frozen)
    np.testing.assert_array_equal(answers(graph_path(made)), answers(tmp_path / "net.onnx"))


def test_an_exported_model_has_them_folded_in(tmp_path: Path) -> None:
    """The same operators as the imported one, other weights, and the answers of the graph with adapters."""
    made = imported(tmp_path)
    described = manifest.parse(made.manifest_path.read_bytes())
    with open_vector(made.parameters_path, described) as floats:
        vector = floats.load() + np.random.default_rng(1).standard_normal(made.elements, np.float32) / np.float32(4)
    write_vector(tmp_path / "version", described.parameters, vector)
    release, _ = compose(made.manifest_path, graph_path(made), tmp_path / "version", tmp_path / "release")
    folded = onnx.load(release)
    assert [node.op_type for node in folded.graph.node] == [node.op_type for node in net().graph.node]
    assert {tensor.name for tensor in folded.graph.initializer} == {tensor.name for tensor in net().graph.initializer}
    with_adapters = onnx.load(graph_path(made))
    tensors = {tensor.name: tensor for tensor in with_adapters.graph.initializer}
    for parameter in described.parameters:
        values = vector[parameter.offset : parameter.offset + parameter.elements].reshape(parameter.shape)
        tensors[parameter.name].CopyFrom(onnx.numpy_helper.from_array(values, parameter.name))
    onnx.save(with_adapters, tmp_path / "with.onnx")
    np.testing.assert_allclose(answers(release), answers(tmp_path / "with.onnx"), rtol=1e-4, atol=1e-5)
    assert np.abs(answers(release) - answers(tmp_path / "net.onnx")).max() > 0.01


@pytest.mark.parametrize(
    ("selectors", "told"),
    [
        (["lora:0"], "whole number from 1"),
        (["lora:two"], "whole number from 1"),
        (["lora:2", "bias"], "give no other selector beside it"),
        (["lora:64"], "no MatMul, Gemm or 1×1 Conv whose weight is larger"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, selectors: list[str], told: str) -> None:
    """With the reason."""
    with pytest.raises(CompileError, match=told):
        import_model(save(tmp_path / "net.onnx", net()), tmp_path / "out", "net", "mse", selectors)
