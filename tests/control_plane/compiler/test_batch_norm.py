"""Whether BatchNormalization trains by the batch: what the file says, unless the user says it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from headwater_control.compiler import batch_norm
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.importer import Imported, make_bundle
from headwater_wire.manifest import Manifest, parse
from onnx import TensorProto, helper, numpy_helper


def model(*, training: bool, opset: int = 17) -> onnx.ModelProto:
    """Make x·W, normalized, with a Dropout behind it."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((4, 3), np.float32),
        "scale": np.ones(3, np.float32),
        "bias": np.zeros(3, np.float32),
        "mean": np.zeros(3, np.float32),
        "variance": np.ones(3, np.float32),
    }
    outputs = ["n", "m2", "v2"] if training else ["n"]
    mode = {"training_mode": int(training)} if opset >= 14 else {}
    if training and opset < 14:
        outputs += ["m3", "v3"]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "scale", "bias", "mean", "variance"], outputs, name="bn", **mode),
        helper.make_node("Dropout", ["n"], ["y", "mask"] if training else ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def imported(folder: Path, proto: onnx.ModelProto, *selectors: str) -> tuple[Imported, Manifest]:
    """Import it with these selectors."""
    onnx.save(proto, folder / "model.onnx")
    made = make_bundle(folder / "model.onnx", folder / "bundle", "m", "cross_entropy", selectors)
    return made, parse(made.manifest_path.read_bytes())


def statistics(description: Manifest) -> list[str]:
    """Name the parameters that follow the batches."""
    return [parameter.name for parameter in description.parameters if parameter.statistic]


@pytest.mark.parametrize("opset", [13, 17])
def test_the_file_says_it(tmp_path: Path, opset: int) -> None:
    """Exported in training mode, of old opsets too: by the batch. Exported for inference: frozen, and said."""
    _, by_batch = imported(tmp_path, model(training=True, opset=opset))
    assert statistics(by_batch) == ["mean", "variance"]
    assert not {"mean", "variance"} & set(by_batch.frozen)
    made, frozen = imported(tmp_path, model(training=False, opset=opset))
    assert statistics(frozen) == []
    assert {"mean", "variance"} <= set(frozen.frozen)
    assert any("--trainable batch_norm" in note for note in made.notes)


def test_the_user_s_word_counts_more(tmp_path: Path) -> None:
    """Either way; all else that trains stays the same."""
    _, asked = imported(tmp_path, model(training=False), "batch_norm")
    _, refused = imported(tmp_path, model(training=True), "batch_norm:frozen")
    assert statistics(asked) == ["mean", "variance"]
    assert statistics(refused) == []
    assert [p.name for p in asked.parameters if not p.statistic] == [p.name for p in refused.parameters]


def test_frozen_layers_keep_their_statistics(tmp_path: Path) -> None:
    """Where neither scale nor bias trains, nothing follows the batch; asked for, that is an error."""
    _, description = imported(tmp_path, model(training=True), "w")
    assert statistics(description) == []
    with pytest.raises(CompileError, match="no BatchNormalization whose scale or bias trains"):
        imported(tmp_path, model(training=True), "w", "batch_norm")
    with pytest.raises(CompileError, match="exclude each other"):
        imported(tmp_path, model(training=True), "batch_norm", "batch_norm:frozen")


def test_what_is_kept_infers(tmp_path: Path) -> None:
    """The graph that devices install goes by the running statistics, and drops nothing."""
    made, description = imported(tmp_path, model(training=True))
    (path,) = [path for path in made.blob_paths if path.name == description.graph.digest]
    kept = onnx.load(path)
    norm = next(node for node in kept.graph.node if node.op_type == "BatchNormalization")
    assert len(norm.output) == 1
    assert not any(item.name == "training_mode" and item.i for item in norm.attribute)
    assert [list(node.output) for node in kept.graph.node if node.op_type == "Dropout"] == [["y"]]


def test_only_the_selectors_for_it_are_taken_out() -> None:
    """The rest goes on to choose parameters."""
    assert batch_norm.wish(["last:1", "batch_norm"]) == (("last:1",), True)
    assert batch_norm.wish(["batch_norm:frozen"]) == ((), False)
    assert batch_norm.wish(["*norm*"]) == (("*norm*",), None)
