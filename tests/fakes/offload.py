"""Heavy work made light: files hold a transcript of what was merged into them, so that a test can read it."""

from dataclasses import replace
from pathlib import Path

from headwater_control.ports import Checked, CheckedRow, Imported, ImportJob, MergeJob, OffloadFailed, Unusable
from headwater_control.strategies import NAMES as STRATEGIES
from headwater_wire import digests
from headwater_wire.ids import ModelName
from headwater_wire.manifest import Loss, Manifest, Parameter, TensorSpec, parse

from tests.support.steps import EVALUATION, TRAIN, UNREAD

BAD = b"not finite"


def manifest_of(model: ModelName, graph: bytes) -> Manifest:
    """Make the bundle of a model of four numbers that reads x and label."""
    return Manifest(
        model=model,
        graph=digests.of_bytes(graph),
        inputs=(TensorSpec("x", "float32", (4,)),),
        outputs=(TensorSpec("logits", "float32", (2,)),),
        loss=Loss("cross_entropy", "logits", TensorSpec("label", "int64", ())),
        parameters=(Parameter("w", (4,), 0),),
        frozen=(),
        step=UNREAD,
    )


class FakeOffload:
    """The port `Offload`. A version's file is its base's, and a line for each delta merged: its examples and bytes."""

    def __init__(self) -> None:
        self.merges: list[MergeJob] = []
        self.composed = 0
        self.compiled: list[str] = []

    async def import_model(self, job: ImportJob) -> Imported:
        """Take any file but one that says it can't be trained."""
        graph = _read(job.onnx_path)
        if graph == BAD:
            raise Unusable("node 3 (LRN) can't be trained: freeze what is before it")
        (job.out_dir / "parameters.safetensors").write_bytes(b"imported\n")
        return _bundle(manifest_of(job.model, graph), graph, TRAIN, job.out_dir)

    async def check_model(self, job: ImportJob, batch_size: int) -> Checked:
        """Take any file but one that says it can't be trained."""
        if _read(job.onnx_path) == BAD:
            raise Unusable("node 3 (LRN) can't be trained: freeze what is before it")
        rows = (CheckedRow("w", (4,), True, ""), CheckedRow("v", (2,), False, "no selector names it"))
        return Checked(rows, 4, 16, batch_size, 32, 64, 100, 0.5, 60, 0.7, ("everything trains",))

    async def compile(self, manifest: Path, graph: Path, training: str, out_dir: Path) -> Imported:
        """Make a step that is named for what it does."""
        self.compiled.append(training)
        if "lamb" in training:
            raise Unusable("there is no optimizer 'lamb'")
        train = training.encode()
        description = parse(_read(manifest))
        step = replace(description.step, train=digests.of_bytes(train), optimizer=training.partition("+")[0])
        return _bundle(replace(description, step=step), _read(graph), train, out_dir)

    async def import_version(self, manifest: Path, source: Path, out_path: Path) -> None:
        """Copy."""
        assert _read(manifest)
        if _read(source) == BAD:
            raise Unusable("parameter w is missing: export it by that name")
        _copy(source, out_path)

    async def compose(self, manifest: Path, graph: Path, parameters: Path, out_dir: Path) -> tuple[Path, Path]:
        """Concatenate."""
        assert _read(manifest)
        self.composed += 1
        onnx, reference = out_dir / "model.onnx", out_dir / "reference.safetensors"
        onnx.write_bytes(_read(graph) + _read(parameters))
        reference.write_bytes(b"reference of " + _read(parameters))
        return onnx, reference

    async def check_delta(self, path: Path, codec: str, elements: int) -> None:
        """Refuse what begins with the words for it, and what is of another model."""
        _check(path, codec)
        if elements != 4:
            raise Unusable(f"the delta has 4 numbers; the model has {elements}")

    async def merge(self, job: MergeJob) -> None:
        """Write the base, then a line per delta."""
        self.merges.append(job)
        if job.strategy not in STRATEGIES:
            raise Unusable(f"no strategy is named {job.strategy!r}")
        if not sum(examples for _, examples in job.deltas):
            raise Unusable("nothing to average")
        for path, _ in job.deltas:
            _check(path, job.codec)
        lines = b"".join(b"%d %s\n" % (examples, _read(path)) for path, examples in job.deltas)
        job.out_path.write_bytes(_read(job.base_path) + lines)


def _bundle(manifest: Manifest, graph: bytes, train: bytes, out_dir: Path) -> Imported:
    (out_dir / "manifest.json").write_bytes(manifest.to_bytes())
    blobs = []
    for data in (graph, train, EVALUATION):
        blobs.append(out_dir / digests.of_bytes(data).digest)
        blobs[-1].write_bytes(data)
    parameters = out_dir / "parameters.safetensors"
    return Imported(out_dir / "manifest.json", parameters, tuple(blobs), elements=4, notes=("everything trains",))


def _check(path: Path, codec: str) -> None:
    if codec != "f32":
        raise Unusable(f"no codec is named {codec!r}")
    if _read(path).startswith(BAD):
        raise Unusable("element 2 is not finite")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OffloadFailed(f"{type(error).__name__}: {error}") from error


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(_read(source))
