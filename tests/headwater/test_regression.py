"""A model that gives numbers, from its import to what the operator reads of a round."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from headwater_agent.training.datasets.split import split
from onnx import TensorProto, helper, numpy_helper

from tests.headwater.shell import Shell
from tests.support.fleet import fleet

HOLDOUT = 0.25
DATASET = """\
[datasets.yields]
format = "npz"
path = "yields.npz"

[datasets.yields.columns.x]
source = "x"

[datasets.yields.columns.label]
source = "y"
"""
Array = npt.NDArray[np.float32]


def model(weight: Array, bias: Array) -> onnx.ModelProto:
    """Make y = x·w + b, of two numbers an example."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        "yields",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_run_s_mean_absolute_error_is_that_of_all_held_out_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two boxes of unlike size train by mse; each round tells what numpy finds of its base, and no accuracy."""
    random = np.random.default_rng(3)
    weight, bias = random.standard_normal((3, 2)).astype(np.float32), np.zeros(2, np.float32)
    onnx.save(model(weight, bias), tmp_path / "yields.onnx")
    errors: list[Array] = []
    with fleet(tmp_path) as running:
        for number, count in enumerate((40, 200), 1):
            x = random.standard_normal((count, 3)).astype(np.float32)
            y = (x @ np.ones((3, 2)) + number).astype(np.float32)
            (tmp_path / f"box-{number}").mkdir()
            np.savez(tmp_path / f"box-{number}" / "yields.npz", x=x, y=y)
            running.add(f"box-{number}", DATASET)
            held_out = split(count, HOLDOUT)[1]
            errors.append(np.abs(x[held_out] @ weight + bias - y[held_out]).mean(axis=1))
        running.client.models.import_file(tmp_path / "yields.onnx", loss="mse")
        running.wait_registered()
        asked = ("--model", "yields", "--dataset", "yields", "--rounds", "1", "--lr", "0.1", "--holdout", str(HOLDOUT))
        shell = Shell(running.client.url, capsys, running.endpoints.env)
        said = shell.ok("run", "start", *asked, "--watch")
        run = said.split()[0]
        first, last = running.client.runs.show(run).rounds
        shown = shell.ok("run", "show", run)
    wanted = float(np.concatenate(errors).mean())
    assert first.scores.holdout_mean_absolute_error == pytest.approx(wanted, rel=1e-5)
    assert last.scores.holdout_mean_absolute_error is not None
    assert last.scores.holdout_mean_absolute_error < wanted
    assert first.scores.holdout_accuracy is None
    told = {task.device: task.metrics.holdout_absolute_error for task in first.tasks if task.metrics}
    assert told == {f"box-{number}": pytest.approx(found.sum(), rel=1e-5) for number, found in enumerate(errors, 1)}
    assert f"mean absolute error of yields-1 {wanted:.4f}" in said
    assert "MEAN ABSOLUTE ERROR" in shown and f"{wanted:.4f}" in shown
    assert "accuracy" not in (said + shown).lower()
