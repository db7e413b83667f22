"""What every implementation of the port `Offload` promises: run on real child processes and on the fake."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import safetensors.numpy
from headwater_control.edges.offload import ProcessOffload
from headwater_control.ports import Imported, ImportJob, MergeJob, Offload, OffloadFailed, Unusable
from headwater_wire import digests, manifest
from headwater_wire.ids import ModelName

from tests.fakes.offload import BAD, FakeOffload
from tests.support.vectors import write_delta, write_version

M = ModelName("classifier")
ELEMENTS = 4


@dataclass
class Target:
    """An offload, and files of the kinds it reads: good ones, and ones that can't be worked with."""

    offload: Offload
    folder: Path
    model: Path
    retrained: tuple[Path, Path]  # two sets of parameters for the model
    base: Path  # a version of ELEMENTS numbers, with a delta for it
    delta: Path
    bad_model: Path
    bad_parameters: Path
    bad_delta: Path

    async def imported(self) -> Imported:
        """Make the model's bundle."""
        return await self.offload.import_model(ImportJob(self.model, self.fresh("bundle"), M, "cross_entropy", ()))

    def merge(self, *deltas: tuple[Path, int], strategy: str = "fedavg", out: str = "merged") -> MergeJob:
        """Want deltas merged into the base."""
        return MergeJob(strategy, self.base, deltas, "f32", self.folder / out)

    def fresh(self, name: str) -> Path:
        """Make a folder for what comes out."""
        made = self.folder / name
        made.mkdir()
        return made


def kept(path: Path, data: bytes) -> Path:
    """Write a file."""
    path.write_bytes(data)
    return path


def read(*paths: Path) -> list[bytes]:
    """Read files."""
    return [path.read_bytes() for path in paths]


def move(source: Path, target: Path) -> None:
    """Give a file another name."""
    source.rename(target)


def graph_of(made: Imported) -> Path:
    """Find the graph among the blobs of a bundle."""
    wanted = manifest.parse(made.manifest_path.read_bytes()).graph
    return next(path for path in made.blob_paths if digests.of_file(path) == wanted)


@asynccontextmanager
async def processes(folder: Path) -> AsyncIterator[Target]:
    """The real one: a model of one layer, four numbers in, three classes out."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["x", "w", "b"], ["logits"])],
        "classifier",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3])],
        [
            onnx.numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w"),
            onnx.numpy_helper.from_array(np.zeros(3, np.float32), "b"),
        ],
    )
    proto = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    for number in (1, 2):
        parameters = {"w": np.full((4, 3), number, np.float32), "b": np.zeros(3, np.float32)}
        safetensors.numpy.save_file(parameters, folder / f"retrained-{number}")
    safetensors.numpy.save_file({"w": np.zeros((4, 3), np.float32)}, folder / "bad-parameters")
    async with ProcessOffload() as offload:
        yield Target(
            offload,
            folder,
            model=kept(folder / "model", proto.SerializeToString()),
            retrained=(folder / "retrained-1", folder / "retrained-2"),
            base=write_version(folder / "base", [0.5] * ELEMENTS),
            delta=write_delta(folder / "delta", [1.0, 2.0, 3.0, 4.0]),
            bad_model=kept(folder / "bad-model", b"no model"),
            bad_parameters=folder / "bad-parameters",
            bad_delta=write_delta(folder / "bad-delta", [1.0, float("nan"), 3.0, 4.0]),
        )


@asynccontextmanager
async def fake(folder: Path) -> AsyncIterator[Target]:
    """The fake."""
    yield Target(
        FakeOffload(),
        folder,
        model=kept(folder / "model", b"a graph"),
        retrained=(kept(folder / "retrained-1", b"ones"), kept(folder / "retrained-2", b"twos")),
        base=kept(folder / "base", b"a base\n"),
        delta=kept(folder / "delta", b"a delta"),
        bad_model=kept(folder / "bad-model", BAD),
        bad_parameters=kept(folder / "bad-parameters", BAD),
        bad_delta=kept(folder / "bad-delta", BAD),
    )


@pytest.fixture(params=[processes, fake])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Target]:
    """Each implementation."""
    opener: Callable[[Path], AbstractAsyncContextManager[Target]] = request.param
    async with opener(tmp_path) as opened:
        yield opened


async def test_a_model_goes_in_and_its_versions_come_out(target: Target) -> None:
    """Bundle, another way of training, other parameters, what a box installs: and every input stays as it was."""
    model = read(target.model)
    made = await target.imported()
    described = manifest.parse(*read(made.manifest_path))
    assert (described.model, described.elements, made.elements > 0) == (M, made.elements, True)
    assert made.parameters_path.exists() and all(isinstance(note, str) and note for note in made.notes)
    held = read(made.manifest_path, made.parameters_path, *made.blob_paths)

    other = await target.offload.compile(made.manifest_path, graph_of(made), "adam", target.fresh("adam"))
    compiled = manifest.parse(*read(other.manifest_path))
    assert (compiled.graph, compiled.parameters) == (described.graph, described.parameters)
    assert compiled.step != described.step and compiled.step.optimizer == "adam"
    for bundle, blobs in ((described, made.blob_paths), (compiled, other.blob_paths)):
        found = {digests.of_file(path) for path in blobs}
        assert {bundle.graph, bundle.step.train, bundle.step.evaluation} <= found
        assert {path.name for path in blobs} == {blob.digest for blob in found}

    versions = [target.folder / "version-1", target.folder / "version-2"]
    for source, version in zip(target.retrained, versions, strict=True):
        await target.offload.import_version(made.manifest_path, source, version)
    assert len(set(read(made.parameters_path, *versions))) == 3
    release = target.fresh("release")
    onnx_path, reference_path = await target.offload.compose(made.manifest_path, graph_of(made), versions[0], release)
    assert onnx_path.parent == reference_path.parent == release and all(read(onnx_path, reference_path))
    assert (read(target.model), read(made.manifest_path, made.parameters_path, *made.blob_paths)) == (model, held)


async def test_a_model_that_can_not_be_trained_is_refused_with_a_sentence(target: Target) -> None:
    """For the person who brought it."""
    with pytest.raises(Unusable, match=r"\w \w"):
        await target.offload.import_model(ImportJob(target.bad_model, target.fresh("out"), M, "cross_entropy", ()))


async def test_parameters_and_trainings_that_do_not_fit_are_refused_with_a_sentence(target: Target) -> None:
    """Parameters of another model, and an optimizer that nobody has heard of."""
    made = await target.imported()
    with pytest.raises(Unusable, match=r"\w \w"):
        await target.offload.import_version(made.manifest_path, target.bad_parameters, target.folder / "version")
    with pytest.raises(Unusable, match="lamb"):
        await target.offload.compile(made.manifest_path, graph_of(made), "lamb", target.fresh("lamb"))


async def test_a_delta_is_looked_over(target: Target) -> None:
    """A good one passes and stays as it is; one with a bad number, of another model or another codec is refused."""
    before = read(target.delta)
    await target.offload.check_delta(target.delta, "f32", ELEMENTS)
    assert read(target.delta) == before
    for path, codec, elements in (
        (target.bad_delta, "f32", ELEMENTS),
        (target.delta, "f32", ELEMENTS + 1),
        (target.delta, "zip", ELEMENTS),
    ):
        with pytest.raises(Unusable, match=r"\w \w"):
            await target.offload.check_delta(path, codec, elements)


async def test_a_merge_depends_on_nothing_but_its_inputs(target: Target) -> None:
    """The same job gives the same bytes, however often it is done; more deltas give others; the inputs stay."""
    before = read(target.base, target.delta)
    job = target.merge((target.delta, 3))
    await target.offload.merge(job)
    merged = read(job.out_path)
    await target.offload.merge(job)
    await target.offload.merge(replace(job, out_path=target.folder / "again"))
    assert read(job.out_path) == read(target.folder / "again") == merged != read(target.base)
    assert read(target.base, target.delta) == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda target: target.merge((target.delta, 3), (target.bad_delta, 3)),
        lambda target: target.merge((target.delta, 3), strategy="unheard-of"),
        lambda target: target.merge(),
        lambda target: target.merge((target.delta, 0)),
        lambda target: replace(target.merge((target.delta, 3)), codec="zip"),
    ],
    ids=["bad delta", "strategy", "no deltas", "no examples", "codec"],
)
async def test_what_can_not_be_merged_is_refused_with_a_sentence(
    target: Target, spoil: Callable[[Target], MergeJob]
) -> None:
    """It would not go better another time: the round is given up. The next merge is done."""
    with pytest.raises(Unusable, match=r"\w \w"):
        await target.offload.merge(spoil(target))
    await target.offload.merge(target.merge((target.delta, 3)))


@pytest.mark.parametrize("lost", ["delta", "base"])
async def test_what_the_disk_denies_is_no_fault_of_the_input(target: Target, lost: str) -> None:
    """A merge whose files can't be read has failed, and is done when they are there again."""
    path: Path = getattr(target, lost)
    hidden = path.with_name("hidden")
    move(path, hidden)
    with pytest.raises(OffloadFailed, match=path.name):
        await target.offload.merge(target.merge((target.delta, 3)))
    move(hidden, path)
    await target.offload.merge(target.merge((target.delta, 3)))
