"""ONNX files for tests, written by hand: good ones, and every kind of bad one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from headwater_wire import manifest
from onnx import TensorProto, helper, numpy_helper

N = helper.make_node
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


class Bundled(Protocol):
    """What an import tells, of the compiler or of the port it is called through."""

    @property
    def manifest_path(self) -> Path: ...
    @property
    def blob_paths(self) -> tuple[Path, ...]: ...


def graph_path(imported: Bundled) -> Path:
    """Name the file of a bundle's graph."""
    digest = manifest.parse(imported.manifest_path.read_bytes()).graph.digest
    return next(path for path in imported.blob_paths if path.name == digest)


def weights(*shape: int) -> npt.NDArray[np.float32]:
    """Draw some numbers."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def info(name: str, shape: Sequence[int | str | None] | None, kind: int = FLOAT) -> onnx.ValueInfoProto:
    """Describe an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    tensors: Mapping[str, npt.NDArray[Any]],
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
    *,
    opset: int = 17,
    ir: int = 8,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """Put a model together; from "x" [batch, 8] to "y" [batch, 3] unless said otherwise."""
    graph = helper.make_graph(
        nodes,
        "test",
        inputs or [info("x", ["batch", 8])],
        outputs or [info("y", ["batch", 3])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def save(path: Path, proto: onnx.ModelProto) -> Path:
    """Write a model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString())
    return path


def mlp(**options: Any) -> onnx.ModelProto:
    """Make a net of two layers: w1, b1, w2, b2."""
    nodes = [
        N("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        N("Relu", ["h"], ["r"], name="relu"),
        N("Gemm", ["r", "w2", "b2"], ["y"], name="second"),
    ]
    tensors = {"w1": weights(8, 5), "b1": weights(5), "w2": weights(5, 3), "b2": weights(3)}
    return model(nodes, tensors, **options)
