"""Bundles made by hand, small enough to foresee what training does to them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from headwater_agent.training.engine import Bundle
from headwater_control.compiler.autodiff.optimizers import OPTIMIZERS, Options
from headwater_control.compiler.autodiff.optimizers import inputs as scalars
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.training import compile_graphs
from headwater_wire import digests
from headwater_wire.ids import Digest, ModelName
from headwater_wire.manifest import Loss, Manifest, Parameter, Step, TensorSpec
from headwater_wire.messages import Blob
from headwater_wire.tensors import write_vector
from onnx import TensorProto, helper, numpy_helper

from tests.support.steps import UNREAD

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Files:
    """A bundle with its first version, on disk as the daemon keeps them."""

    bundle: Bundle
    manifest_path: Path
    graph_path: Path
    base_path: Path
    base: Array

    @property
    def blobs(self) -> tuple[tuple[Digest, str], ...]:
        """Name the bundle's blobs and their places, as a job does."""
        return tuple((digest, str(path)) for digest, path in self.bundle.files.items())


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
    optimizer: str = "sgd",
    options: Options | None = None,
) -> Files:
    """Write a bundle of a graph from "x" [batch, features] to "y" [batch, outputs].

    One that Headwater's compiler refuses has a step that can't be taken: there is another engine to try it with.
    """
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
    inputs, wanted = (TensorSpec("x", "float32", (features,)),), Loss(loss, output, label, classes)
    files = {digests.of_file(graph_path).digest: graph_path}
    step = UNREAD
    with suppress(CompileError):
        made = compile_graphs(inferred, inputs, wanted, trainable, optimizer, options)
        step = Step(
            train=_keep(files, folder / "train.onnx", made.train.SerializeToString()),
            evaluation=_keep(files, folder / "evaluation.onnx", made.evaluation.SerializeToString()),
            accumulate=_keep(files, folder / "accumulate.onnx", made.accumulate.SerializeToString()),
            update=_keep(files, folder / "update.onnx", made.update.SerializeToString()),
            constants=None,
            optimizer=optimizer,
            slots=OPTIMIZERS[optimizer].slots,
            scalars=scalars(OPTIMIZERS[optimizer], options or Options()),
        )
    manifest = Manifest(
        model=ModelName("test"),
        graph=digests.of_file(graph_path),
        inputs=inputs,
        outputs=(TensorSpec("y", "float32", (outputs,)),),
        loss=wanted,
        parameters=tuple(parameters),
        frozen=(),
        step=step,
    )
    manifest_path, base_path = folder / "manifest.json", folder / "base.safetensors"
    manifest_path.write_bytes(manifest.to_bytes())
    base = np.concatenate([tensors[name].reshape(-1) for name in trainable])
    write_vector(base_path, manifest.parameters, base)
    return Files(Bundle(manifest, files), manifest_path, graph_path, base_path, base)


def _keep(files: dict[Digest, Path], path: Path, data: bytes) -> Blob:
    path.write_bytes(data)
    blob = digests.of_bytes(data)
    files[blob.digest] = path
    return blob


def linear(
    folder: Path,
    *,
    loss: str = "cross_entropy",
    features: int = 4,
    outputs: int = 3,
    optimizer: str = "sgd",
    options: Options | None = None,
) -> Files:
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
        optimizer=optimizer,
        options=options,
    )
