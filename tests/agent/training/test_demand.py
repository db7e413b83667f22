"""Whether a dataset is what a model demands is known before anything is trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from headwater_agent.training import demand
from headwater_agent.training.datasets import Dataset, open_dataset
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.protocol import ColumnConfig, DatasetConfig
from headwater_wire.manifest import Loss, Manifest, TensorSpec

from tests.agent.training import bundles


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A model from "x" float32 (4,) to three classes."""
    return bundles.linear(tmp_path).bundle.manifest


def dataset(folder: Path, *columns: ColumnConfig, **arrays: npt.NDArray[Any]) -> Dataset:
    """Open an npz."""
    np.savez(folder / "data.npz", allow_pickle=True, **arrays)
    return open_dataset(DatasetConfig("parts", "npz", str(folder / "data.npz"), columns))


X, LABEL = ColumnConfig("x", ("x",)), ColumnConfig("label", ("label",), dtype="int64")
GOOD = {"x": np.ones((5, 4), np.float32), "label": np.array([0, 1, 2, 2, 0])}


def test_a_fitting_dataset_passes(tmp_path: Path, manifest: Manifest) -> None:
    """Extra columns don't matter."""
    spare = ColumnConfig("spare", ("x",))
    demand.check(dataset(tmp_path, X, LABEL, spare, **GOOD), manifest)


@pytest.mark.parametrize("ignored", [-100, 255])
def test_the_label_to_ignore_is_no_class(tmp_path: Path, manifest: Manifest, ignored: int) -> None:
    """It may lie anywhere, as segmentation's 255 and PyTorch's −100 do; others beyond the classes are still told."""
    ignoring = replace(manifest, loss=replace(manifest.loss, ignore=ignored))
    demand.check(dataset(tmp_path, X, LABEL, **GOOD | {"label": np.array([0, ignored, 2, 1, 0])}), ignoring)
    with pytest.raises(NotPossible, match="has a label that model"):
        demand.check(dataset(tmp_path, X, LABEL, **GOOD | {"label": np.array([0, ignored, 2, 3, 0])}), ignoring)


def test_which_label_it_is_stays_on_the_box(
    tmp_path: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    """The box's own log has the example and its value; the refusal, which the control plane reads, has neither."""
    with pytest.raises(NotPossible) as refused:
        demand.check(dataset(tmp_path, X, LABEL, **GOOD | {"label": np.array([0, 1, 2, 77, 0])}), manifest)
    assert "77" not in str(refused.value)
    assert "the label of example 3 is 77" in caplog.text


@pytest.mark.parametrize(
    ("columns", "arrays", "told"),
    [
        ((LABEL,), GOOD, r"no column for the model's input 'x' \(it has label\): declare a column named 'x'"),
        ((X,), GOOD, r"no column for the label \(it has x\): declare a column named 'label'"),
        ((replace(X, dtype="float64"), LABEL), GOOD, r"is float64, but model \'test\' wants float32: declare dtype"),
        ((X, LABEL), GOOD | {"x": np.ones((5, 3))}, r"shape \[3\], but model 'test' wants \[4\]: this is other data"),
        ((replace(X, shape=(2, 2)), LABEL), GOOD, r"shape \[2, 2\], .* wants \[4\]: declare shape = \[4\]"),
        ((X, LABEL), GOOD | {"label": np.array([0, 1, 2, 3, 0])}, "has a label that model .* its classes are 0 to 2"),
        ((X, LABEL), GOOD | {"label": np.array([0, -1, 2, 3, 0])}, "has a label that model .* its classes are 0 to 2"),
    ],
)
def test_what_does_not_fit_is_told(
    tmp_path: Path, manifest: Manifest, columns: tuple[ColumnConfig, ...], arrays: dict[str, Any], told: str
) -> None:
    """The column, what it is, what the model wants, and what to write in the configuration."""
    with pytest.raises(NotPossible, match=told):
        demand.check(dataset(tmp_path, *columns, **arrays), manifest)


def test_a_regressions_label_has_the_outputs_shape(tmp_path: Path, manifest: Manifest) -> None:
    """A label of one number an example is not yet one of shape [1]."""
    regression = replace(manifest, loss=Loss("mse", "y", TensorSpec("label", "float32", (1,))))
    label = ColumnConfig("label", ("label",))
    with pytest.raises(NotPossible, match=r"declare shape = \[1\]"):
        demand.check(dataset(tmp_path, X, label, **GOOD), regression)
    demand.check(dataset(tmp_path, X, replace(label, shape=(1,)), **GOOD), regression)
