"""What is particular to the engine on ONNX Runtime's training build."""

from pathlib import Path

import numpy as np
import pytest
from headwater_agent.training.engine import Bundle
from headwater_agent.training.engines import engine
from headwater_agent.training.errors import NotPossible
from headwater_control.compiler.autodiff.optimizers import Options
from onnx import helper

from tests.agent.training import bundles
from tests.support.training_build import needs_training_build

pytestmark = needs_training_build


def test_a_graph_without_derivative_is_not_possible(tmp_path: Path) -> None:
    """The engine's own words name the operator and the node."""
    tensors = {"w": np.ones((4, 3), np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Elu", ["h"], ["y"], name="bent"),
    ]
    files = bundles.make(tmp_path, nodes, tensors, ["w"], loss="mse", features=4, outputs=3)
    with pytest.raises(NotPossible, match="Elu for node bent"):
        engine("native").open(files.bundle, threads=1)


def test_a_file_that_is_no_graph_is_not_possible(tmp_path: Path) -> None:
    """Refused before anything is built."""
    files = bundles.linear(tmp_path / "good")
    broken = Bundle(files.bundle.manifest, {files.bundle.manifest.graph.digest: tmp_path / "empty.onnx"})
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(NotPossible, match="not run on this device: it is empty"):
        engine("native").open(broken, threads=1)


@pytest.mark.parametrize(("optimizer", "options"), [("adam", None), ("sgd", Options(clip_norm=True))])
def test_what_it_has_no_words_for_is_not_possible(tmp_path: Path, optimizer: str, options: Options | None) -> None:
    """Of the optimizers it has plain sgd; the refusal names the engine that has them all."""
    files = bundles.linear(tmp_path, optimizer=optimizer, options=options)
    with pytest.raises(NotPossible, match="use the portable engine"):
        engine("native").open(files.bundle, threads=1)
