"""Parameters trained elsewhere become a version, or are refused by name."""

import io
import pickle  # noqa: TID251  (what crosses a process border must survive it)
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.importer import Imported, make_bundle
from headwater_control.compiler.parameters import import_version
from headwater_wire import manifest, tensors
from onnx import numpy_helper

from tests.control_plane.compiler.graphs import mlp, save, weights

Arrays = dict[str, npt.NDArray[Any]]
FROZEN = weights(8, 5)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A bundle that trains b1, w2 and b2, with w1 frozen."""
    folder = tmp_path_factory.mktemp("bundle")
    return make_bundle(save(folder / "model.onnx", mlp()), folder / "out", "net", "mse", ["w2", "b*"])


def retrained() -> Arrays:
    """Parameters that fit."""
    return {"b2": np.full(3, 0.5, np.float32), "w2": weights(5, 3) * 2, "b1": weights(5) + 1}


def as_safetensors(path: Path, arrays: Arrays) -> None:
    """Write as safetensors."""
    tensors.write_tensors(path, arrays)


def as_npz(path: Path, arrays: Arrays) -> None:
    """Write as npz."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, **arrays)


def as_onnx(path: Path, arrays: Arrays) -> None:
    """Write as the model itself, retrained."""
    proto = mlp()
    for tensor in proto.graph.initializer:
        if tensor.name in arrays:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    save(path, proto)


@pytest.mark.parametrize("write", [as_safetensors, as_npz, as_onnx])
def test_parameters_are_taken_by_name(
    tmp_path: Path, imported: Imported, write: Callable[[Path, Arrays], None]
) -> None:
    """Whatever the file's order and name, the version has the manifest's, bit by bit."""
    arrays = retrained()
    source, out = tmp_path / "upload", tmp_path / "version.safetensors"
    write(source, arrays)
    import_version(imported.manifest_path, source, out)
    described = manifest.parse(imported.manifest_path.read_bytes())
    with tensors.open_vector(out, described) as floats:
        wanted = np.concatenate([arrays[parameter.name].reshape(-1) for parameter in described.parameters])
        assert np.array_equal(floats.load(), wanted)


def test_what_the_model_does_not_know_is_passed_over(tmp_path: Path, imported: Imported) -> None:
    """A state dict may hold counters and the frozen parameters, if these are as they were; float64 is rounded."""
    arrays = retrained()
    extra: Arrays = {"steps": np.array(7), "w1": FROZEN, "b1": arrays["b1"].astype(np.float64)}
    as_npz(tmp_path / "upload", arrays | extra)
    import_version(imported.manifest_path, tmp_path / "upload", tmp_path / "out")
    assert (tmp_path / "out").is_file()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"w2": None}, "1 of 3 parameters are missing in the file, such as w2; it holds b2, b1: use the model's names"),
        ({"w2": weights(3, 5)}, r"'w2' is \(3, 5\); the model has \(5, 3\)"),
        ({"b1": np.ones(5, np.int32)}, "'b1' is int32; the model's are float32"),
        ({"b1": np.array([1, 2, np.nan, 4, 5], np.float32)}, "'b1' holds values that are not finite"),
        ({"b1": np.full(5, 1e300)}, "'b1' holds values that are not finite"),
        ({"w1": FROZEN + 1}, "'w1' is frozen in model 'net', but has changed: import the file as a new model"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, imported: Imported, change: dict[str, Any], told: str) -> None:
    """Each kind of misfit says which parameter, and no version appears."""
    arrays = {name: values for name, values in (retrained() | change).items() if values is not None}
    as_npz(tmp_path / "upload", arrays)
    with pytest.raises(CompileError, match=told):
        import_version(imported.manifest_path, tmp_path / "upload", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04cut", b"\x10\0\0\0\0\0\0\0{}", b"\x10\0\0\0\0\0\0\0{" + b"x" * 40, b"rubbish" * 9],
)
def test_what_is_no_file_of_tensors_is_told(tmp_path: Path, imported: Imported, content: bytes) -> None:
    """Any bytes end in a sentence on the file, without the temporary name that it has here."""
    (tmp_path / "upload").write_bytes(content)
    with pytest.raises(CompileError, match=r"^the file ") as refusal:
        import_version(imported.manifest_path, tmp_path / "upload", tmp_path / "out")
    assert "upload" not in str(refusal.value)


def test_objects_are_not_loaded(tmp_path: Path, imported: Imported) -> None:
    """An npz of Python objects, which could carry code, is refused."""
    as_npz(tmp_path / "upload", {"w2": np.array([{}], object)})
    with pytest.raises(CompileError, match="allow_pickle=False"):
        import_version(imported.manifest_path, tmp_path / "upload", tmp_path / "out")


def _zipped(path: Path, members: list[tuple[str, tuple[int, ...], bytes, int]]) -> None:
    """Write float32 members (name, the shape they claim, a block of their content, how often it is repeated)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape, block, times in members:
            head = io.BytesIO()
            described = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(head, described)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile's, of names that are there twice
                with archive.open(f"{name}.npy", "w") as member:
                    member.write(head.getvalue())
                    for _ in range(times):
                        member.write(block)


def test_what_nobody_wants_is_not_unpacked(tmp_path: Path, imported: Imported) -> None:
    """A quarter of a gigabyte of zeros under a name of no parameter costs no memory."""
    block = bytes(1 << 20)
    with (tmp_path / "upload").open("wb") as file:
        np.savez(file, allow_pickle=True, **retrained())
    with (
        zipfile.ZipFile(tmp_path / "upload", "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("junk.npy", "w") as junk,
    ):
        for _ in range(256):
            junk.write(block)
    tracemalloc.start()
    import_version(imported.manifest_path, tmp_path / "upload", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (
            [("w2", (5, 3), bytes(1 << 20), 64)],
            "'w2' would take 67108992 bytes, where the model has no more than 65656",
        ),
        ([("w2", (1 << 40,), b"", 1)], "'w2' would take 4398046511104 bytes, where the model has no more than 120"),
        ([("w2", (5, 3), bytes(60), 1), ("w2", (5, 3), bytes(60), 1)], "it holds two arrays of one name"),
        ([("w2", (5, 3), bytes(30), 1)], "the file can't be read"),
    ],
    ids=["a bomb", "a shape as large as memory", "a name twice", "half of an array"],
)
def test_tricks_of_archives_are_refused(
    tmp_path: Path, imported: Imported, members: list[tuple[str, tuple[int, ...], bytes, int]], told: str
) -> None:
    """By what a member says of itself, before it is unpacked."""
    _zipped(tmp_path / "upload", members)
    with pytest.raises(CompileError, match=told):
        import_version(imported.manifest_path, tmp_path / "upload", tmp_path / "out")


def test_an_onnx_export_with_constants_as_nodes_is_read(tmp_path: Path, imported: Imported) -> None:
    """The names are found wherever the exporter put the values."""
    proto = mlp()
    arrays = retrained()
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in arrays]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    for name, values in arrays.items():
        node = onnx.helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))
        proto.graph.node.insert(0, node)
    import_version(imported.manifest_path, save(tmp_path / "upload", proto), tmp_path / "out")
    assert (tmp_path / "out").is_file()


def test_the_error_crosses_processes() -> None:
    """It carries a message and nothing else."""
    assert str(pickle.loads(pickle.dumps(CompileError("so it is")))) == "so it is"
