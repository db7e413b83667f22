"""An imported model goes through a real training child and back, and does on the box what it did at home."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from headwater.examples import digits, tumours
from headwater.examples.classifier import digits_classifier, mnist_classifier, table_classifier
from headwater.examples.shards import Examples
from headwater_agent.training.protocol import Check, Checked, ColumnConfig, DatasetConfig, Train, Trained
from headwater_control.compiler.compose import compose
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.importer import Imported, import_model
from headwater_wire import codecs, digests, manifest, tensors
from headwater_wire.ids import Digest
from headwater_wire.messages import Plan

from tests.agent.training.workers import Worker
from tests.control_plane.compiler.graphs import graph_path, save

COLUMNS = (
    ColumnConfig("image", ("image",), shape=(1, 8, 8), scale=0.0625, mean=0.305, std=0.376),
    ColumnConfig("label", ("label",), dtype="int64"),
)
SCORE = Plan(train=False, holdout=1.0, threads=1)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One warm worker."""
    with Worker() as started:
        yield started


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """The digits' classifier, imported."""
    folder = tmp_path_factory.mktemp("net")
    return import_model(save(folder / "digits.onnx", digits_classifier()), folder / "out", "digits", "cross_entropy")


def dataset(path: Path, examples: Examples) -> DatasetConfig:
    """Save a shard, and declare it."""
    examples.save(path)
    return DatasetConfig("digits", "npz", str(path), COLUMNS)


def read(path: Path) -> np.ndarray:
    """Read a version."""
    with tensors.open_vector(path) as floats:
        return floats.load()


def write(path: Path, net: Imported, vector: np.ndarray) -> Path:
    """Write a version."""
    described = manifest.parse(net.manifest_path.read_bytes())
    tensors.write_vector(path, described.parameters, vector)
    return path


def job(net: Imported, base: Path, data: DatasetConfig, plan: Plan, delta: Path) -> Train:
    """Ask for one task."""
    files = tuple((Digest(path.name), str(path)) for path in net.blob_paths)
    return Train("t", str(net.manifest_path), files, str(base), str(delta), data, plan)


def right(scored: Trained) -> float:
    """Give the share of the held-out examples that were right."""
    assert scored.metrics.holdout_correct is not None
    return scored.metrics.holdout_correct / scored.metrics.holdout_examples


def test_central_training_reads_digits_in_seconds(worker: Worker, net: Imported, tmp_path: Path) -> None:
    """Five epochs on the pooled digits read more than 95 of 100 held-out ones; composed, the model agrees."""
    shards = digits.shards(5)
    pooled = dataset(tmp_path / "pooled.npz", shards.pooled())
    plan = Plan(epochs=5, batch_size=16, learning_rate=0.1, holdout=0.1, threads=1)
    trained = worker.do(job(net, net.parameters_path, pooled, plan, tmp_path / "delta"))
    assert isinstance(trained, Trained)
    with codecs.open_delta(tmp_path / "delta", "f32", net.elements) as floats:
        version = write(tmp_path / "version", net, read(net.parameters_path) + floats.load())
    test = dataset(tmp_path / "test.npz", shards.test)
    scored = worker.do(job(net, version, test, SCORE, tmp_path / "none"))
    assert isinstance(scored, Trained) and scored.metrics.holdout_examples == len(shards.test.labels)
    share = right(scored)
    assert share > 0.95

    model, reference = compose(net.manifest_path, graph_path(net), version, tmp_path / "release")
    assert worker.do(Check(str(model), str(reference), 1e-4)) == Checked("")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"image": digits.normalised(shards.test.images)})
    assert (probabilities.argmax(axis=1) == shards.test.labels).mean() == pytest.approx(share)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)  # the Softmax is still there

    other, _ = compose(net.manifest_path, graph_path(net), net.parameters_path, tmp_path / "first")
    assert "differs from the reference" in str(worker.do(Check(str(other), str(reference), 1e-4)))


def test_federated_averaging_beats_every_lonely_device(worker: Worker, net: Imported, tmp_path: Path) -> None:
    """Devices that each lack six digits together learn all ten; alone, none can."""
    shards = digits.shards(5)
    data = [dataset(tmp_path / f"{number}.npz", shard) for number, shard in enumerate(shards.devices)]
    test = dataset(tmp_path / "test.npz", shards.test)
    plan = Plan(epochs=2, batch_size=16, learning_rate=0.1, holdout=0.1, threads=1)

    def delta(base: Path, place: int, plan: Plan) -> tuple[np.ndarray, int]:
        trained = worker.do(job(net, base, data[place], plan, tmp_path / "delta"))
        assert isinstance(trained, Trained)
        with codecs.open_delta(tmp_path / "delta", "f32", net.elements) as floats:
            return floats.load(), trained.metrics.examples

    def share(vector: np.ndarray) -> float:
        scored = worker.do(job(net, write(tmp_path / "v", net, vector), test, SCORE, tmp_path / "none"))
        assert isinstance(scored, Trained)
        return right(scored)

    first = read(net.parameters_path)
    alone = [share(first + delta(net.parameters_path, place, replace(plan, epochs=5))[0]) for place in range(5)]
    merged = first
    for round_number in range(6):
        base = write(tmp_path / "base", net, merged)
        deltas = [delta(base, place, replace(plan, seed=round_number)) for place in range(5)]
        total = sum(examples for _, examples in deltas)
        merged = merged + sum(change * np.float32(examples / total) for change, examples in deltas)
    assert max(alone) < 0.5 < 0.85 < share(merged)


def test_composing_is_repeatable_and_self_contained(net: Imported, tmp_path: Path) -> None:
    """The same version gives the same files; the model needs nothing beside it and keeps its inputs and outputs."""
    one = compose(net.manifest_path, graph_path(net), net.parameters_path, tmp_path / "one")
    other = compose(net.manifest_path, graph_path(net), net.parameters_path, tmp_path / "other")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    proto = onnx.load(one[0])
    assert [value.name for value in proto.graph.output] == ["probabilities"]
    assert set(tensors.read_tensors(one[1])) == {"input.image", "output.probabilities"}


def test_a_version_or_graph_of_another_model_is_not_composed(net: Imported, tmp_path: Path) -> None:
    """Neither wrong parameters nor a wrong graph become a release."""
    short = tmp_path / "short"
    described = manifest.parse(net.manifest_path.read_bytes())
    tensors.write_vector(short, described.parameters[:1], read(net.parameters_path)[: described.parameters[0].elements])
    with pytest.raises(CompileError, match="1 parameters; model digits has 8"):
        compose(net.manifest_path, graph_path(net), short, tmp_path / "out")
    wrong = save(tmp_path / "wrong.onnx", mnist_classifier())
    with pytest.raises(CompileError, match="is not the graph of model 'digits'"):
        compose(net.manifest_path, wrong, net.parameters_path, tmp_path / "out")


def test_three_clinics_csv_files_train_a_table_classifier(worker: Worker, tmp_path: Path) -> None:
    """A model that scales raw measures itself learns from a clinic's csv; its scales stay frozen."""
    mean, std = tumours.scales()
    proto = table_classifier(tumours.FEATURES, tumours.CLASSES, mean=mean, std=std)
    table = import_model(save(tmp_path / "t.onnx", proto), tmp_path / "out", "tumours", "cross_entropy", ["layer*"])
    assert any(note.startswith("'mean' is frozen") for note in table.notes)
    *clinics, test = tumours.split_csv(tmp_path / "csv", clinics=3)
    columns = (
        ColumnConfig("features", ("*",)),
        ColumnConfig("label", ("malignant",), dtype="int64"),
    )
    clinic = DatasetConfig("tumours", "csv", str(clinics[0]), columns)
    plan = Plan(epochs=20, batch_size=16, learning_rate=0.1, threads=1)
    trained = worker.do(job(table, table.parameters_path, clinic, plan, tmp_path / "delta"))
    assert isinstance(trained, Trained) and trained.delta == digests.of_file(tmp_path / "delta")
    with codecs.open_delta(tmp_path / "delta", "f32", table.elements) as floats:
        version = write(tmp_path / "version", table, read(table.parameters_path) + floats.load())
    scored = worker.do(job(table, version, replace(clinic, path=str(test)), SCORE, tmp_path / "none"))
    assert isinstance(scored, Trained)
    assert right(scored) > 0.9


def test_the_mnist_classifier_trains(tmp_path: Path) -> None:
    """It imports, which proves it, with a note about its Softmax."""
    proto = mnist_classifier()
    imported = import_model(save(tmp_path / "m.onnx", proto), tmp_path / "out", "mnist", "cross_entropy")
    assert imported.elements == sum(int(np.prod(tensor.dims)) for tensor in proto.graph.initializer)
    assert "(Softmax), is left out while training" in imported.notes[0]
