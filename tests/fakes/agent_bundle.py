"""A small model as it travels, and tasks for it; the constant engine trains it without reading the graph."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from headwater_wire.ids import DeviceId, Digest, ModelName, RunId, TaskId, VersionId
from headwater_wire.manifest import Loss, Manifest, Parameter, TensorSpec
from headwater_wire.messages import Blob, Plan, Task
from headwater_wire.tensors import write_vector

from tests.fakes.agent_gateway import ScriptedGateway
from tests.support.steps import EVALUATION, UNREAD

DEVICE = DeviceId("box-1")
DATASET = "numbers"


def blob(data: bytes) -> Blob:
    """Describe bytes."""
    return Blob(Digest(hashlib.sha256(data).hexdigest()), len(data))


def task(
    name: str = "task-1", *, deadline_ms: int = 2_000_000, plan: Plan | None = None, dataset: str = DATASET
) -> Task:
    """Make a task whose blobs nobody has."""
    return Task(
        TaskId(name),
        RunId("run-1"),
        1,
        DEVICE,
        dataset,
        blob(b"bundle"),
        blob(b"base"),
        VersionId("m-1"),
        plan or Plan(),
        deadline_ms,
    )


def offered(gateway: ScriptedGateway, folder: Path, *, elements: int = 6, graph: bytes = b"a graph") -> Task:
    """Store a model of `elements` parameters at the gateway; give a task that trains it."""
    parameter = Parameter("w", (elements,), 0)
    manifest = Manifest(
        model=ModelName("m"),
        graph=blob(b"the graph, which only another engine reads"),
        inputs=(TensorSpec("x", "float32", (2,)),),
        outputs=(TensorSpec("y", "float32", (3,)),),
        loss=Loss("cross_entropy", "y", TensorSpec("label", "int64", ()), classes=3),
        parameters=(parameter,),
        frozen=(),
        step=replace(UNREAD, train=gateway.put(graph), evaluation=gateway.put(EVALUATION)),
    )
    base = folder / "base.safetensors"
    write_vector(base, (parameter,), np.zeros(elements, np.float32))
    return Task(
        TaskId("task-1"),
        RunId("run-1"),
        1,
        DEVICE,
        DATASET,
        gateway.put(manifest.to_bytes()),
        gateway.put(base.read_bytes()),
        VersionId("m-1"),
        Plan(epochs=2, batch_size=2, learning_rate=0.5),
        gateway.server_time_ms + 600_000,
    )


def dataset_file(folder: Path) -> Path:
    """Write ten examples that fit the model."""
    return write_examples(folder, 10)


def write_examples(folder: Path, count: int) -> Path:
    """Write examples that fit the model."""
    path = folder / "numbers.npz"
    x = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    np.savez(path, x=x, label=np.arange(count, dtype=np.int64) % 3)
    return path


def model_that_adds(number: int) -> bytes:
    """Make an ONNX model: y = x + number, with a dynamic batch axis."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "n"], ["y"])],
        "adder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("n", TensorProto.FLOAT, [1], [float(number)])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
