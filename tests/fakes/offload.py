"""Heavy work made light: files hold a transcript of what was merged into them, so that a test can read it."""

from pathlib import Path

from headwater_control.ports import Imported, ImportJob, MergeJob, Unusable
from headwater_wire import digests
from headwater_wire.ids import ModelName
from headwater_wire.manifest import Loss, Manifest, Parameter, TensorSpec

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
    )


class FakeOffload:
    """The port `Offload`. A version's file is its base's, and a line for each delta merged: its examples and bytes."""

    def __init__(self) -> None:
        self.merges: list[MergeJob] = []
        self.composed = 0

    async def import_model(self, job: ImportJob) -> Imported:
        """Take any file but one that says it can't be trained."""
        graph = _read(job.onnx_path)
        if graph == BAD:
            raise Unusable("node 3 (LRN) can't be trained: freeze what is before it")
        paths = [job.out_dir / name for name in ("manifest.json", "graph.onnx", "parameters.safetensors")]
        for path, data in zip(paths, (manifest_of(job.model, graph).to_bytes(), graph, b"imported\n"), strict=True):
            path.write_bytes(data)
        manifest, graph_path, parameters = paths
        return Imported(manifest, graph_path, parameters, elements=4, notes=("everything trains",))

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
        """Refuse what begins with the words for it."""
        assert (codec, elements) == ("f32", 4)
        if _read(path).startswith(BAD):
            raise Unusable("element 2 is not finite")

    async def merge(self, job: MergeJob) -> None:
        """Write the base, then a line per delta."""
        self.merges.append(job)
        lines = b"".join(b"%d %s\n" % (examples, _read(path)) for path, examples in job.deltas)
        job.out_path.write_bytes(_read(job.base_path) + lines)


def _read(path: Path) -> bytes:
    return path.read_bytes()


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())
