"""Bundles made by hand, small enough to foresee what training does to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from headwater_agent.training.engine import Bundle
from headwater_wire import digests
from headwater_wire.ids import ModelName
from headwater_wire.manifest import Loss, Manifest, Parameter, TensorSpec
from headwater_wire.tensors import write_vector
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Files:
    """A bundle with its first version, on disk as the daemon keeps them."""

    bundle: Bundle
    manifest_path: Path
    graph_path: Path
    base_path: Path
    base: Array


def make(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    tensors: Mapping[str, Array],
    trainable: Sequence[str],
    *,
    loss: str,
    features: int,
    outputs: int,
    output: str = "y",
    opset: int = 17,
) -> Files:
    """Write a bundle of a graph from "x" [batch, features] to "y" [batch, outputs]."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outputs])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(model)
    graph_path = folder / "graph.onnx"
    graph_path.write_bytes(inferred.SerializeToString())
    parameters, offset = [], 0
    for name in trainable:
        parameters.append(Parameter(name, tensors[name].shape, offset))
        offset += parameters[-1].elements
    classes = outputs if loss == "cross_entropy" else 0
    label = TensorSpec("label", "int64", ()) if classes else TensorSpec("label", "float32", (outputs,))
    manifest = Manifest(
        model=ModelName("test"),
        graph=digests.of_file(graph_path),
        inputs=(TensorSpec("x", "float32", (features,)),),
        outputs=(TensorSpec("y", "float32", (outputs,)),),
        loss=Loss(loss, output, label, classes),
        parameters=tuple(parameters),
        frozen=(),
    )
    manifest_path, base_path = folder / "manifest.json", folder / "base.safetensors"
    manifest_path.write_bytes(manifest.to_bytes())
    base = np.concatenate([tensors[name].reshape(-1) for name in trainable])
    write_vector(base_path, manifest.parameters, base)
    return Files(Bundle(manifest, graph_path), manifest_path, graph_path, base_path, base)


def linear(folder: Path, *, loss: str = "cross_entropy", features: int = 4, outputs: int = 3) -> Files:
    """Write a bundle of y = x·w + b, with "b" before "w" in the flat vector, unlike in the graph."""
    random = np.random.default_rng(7)
    return make(
        folder,
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="gemm")],
        {
            "w": random.standard_normal((features, outputs)).astype(np.float32),
            "b": random.standard_normal(outputs).astype(np.float32),
        },
        ["b", "w"],
        loss=loss,
        features=features,
        outputs=outputs,
    )
