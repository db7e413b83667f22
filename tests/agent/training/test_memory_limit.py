"""A worker that is asked for more memory than it has: the task fails with a sentence, the box lives."""

from pathlib import Path

import numpy as np
import pytest
from headwater_agent.training.protocol import Broke, Check, Checked, ColumnConfig, DatasetConfig, Inspect, Inspected
from headwater_wire.tensors import write_tensors

from tests.agent.training.workers import Worker

LIMIT_BYTES = 256 << 20
LIMITED = ("--confinement", "off", "--memory-limit", str(LIMIT_BYTES))
GREEDY = 1 << 28  # float32 numbers: a GiB


def greedy(path: Path) -> Path:
    """Write a graph of a hundred bytes that fills a gigabyte: y = x + the sum of very many ones."""
    from onnx import TensorProto, helper

    ones = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["x"], ["shape"]),  # else the optimizer computes all of it when it is loaded
            helper.make_node("Mul", ["shape", "times"], ["vast"]),
            helper.make_node("ConstantOfShape", ["vast"], ["ones"], value=ones),
            helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
        ],
        "greedy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("times", TensorProto.INT64, [1], [GREEDY])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_graph_and_a_dataset_that_want_too_much_are_answered(tmp_path: Path) -> None:
    """By one worker, which lives on: an install is refused, a dataset fails, and the next one is read."""
    x = np.ones(1, np.float32)
    write_tensors(tmp_path / "reference", {"input.x": x, "output.y": x})
    np.savez_compressed(tmp_path / "vast.npz", x=np.broadcast_to(np.float32(0), (1, LIMIT_BYTES // 4)))
    np.savez(tmp_path / "small.npz", x=np.zeros((3, 2), np.float32))
    with Worker(confinement=LIMITED) as worker:
        checked = worker.do(Check(str(greedy(tmp_path / "greedy.onnx")), str(tmp_path / "reference"), 1e-4))
        assert isinstance(checked, Checked) and "llocate memory" in checked.problem
        vast = worker.do(
            Inspect(DatasetConfig("vast", "npz", str(tmp_path / "vast.npz"), (ColumnConfig("x", ("x",)),)))
        )
        assert isinstance(vast, Broke) and "more memory than this box gives to training" in vast.reason
        small = worker.do(
            Inspect(DatasetConfig("small", "npz", str(tmp_path / "small.npz"), (ColumnConfig("x", ("x",)),)))
        )
        assert isinstance(small, Inspected) and small.card.examples == 3


@pytest.mark.parametrize("mode", ["off", "preferred"])
def test_the_kernel_is_told_whom_to_end_first(mode: str) -> None:
    """The worker, not what the box is there for: its own word in /proc, confined or not."""
    with Worker(confinement=("--confinement", mode)) as worker:
        worker.do(Inspect(DatasetConfig("none", "npz", "/nowhere", (ColumnConfig("x", ("x",)),))))
        assert Path(f"/proc/{worker.process.pid}/oom_score_adj").read_text().strip() == "1000"
